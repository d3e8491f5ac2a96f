// node-postgres: parameters, named statements, transactions, cursors, pools, notifications, errors.
const assert = require('node:assert')
const { Client, Pool } = require('pg')
const Cursor = require('pg-cursor')

const [port, database] = process.argv.slice(2)
const address = { host: '127.0.0.1', port, user: 'postgres', password: 'password', database }

async function main() {
  const client = new Client(address)
  await client.connect()
  await client.query('CREATE TABLE node_pg (a int PRIMARY KEY, b text)')
  for (let i = 0; i < 50; i++) await client.query('INSERT INTO node_pg VALUES ($1, $2)', [i, `row ${i}`])
  const named = (value) => ({ name: 'by-key', text: 'SELECT b FROM node_pg WHERE a = $1', values: [value] })
  for (let i = 0; i < 20; i++) assert.equal((await client.query(named(i))).rows[0].b, `row ${i}`)

  await client.query('BEGIN')
  await client.query('UPDATE node_pg SET b = $1 WHERE a = 1', ['changed'])
  assert.equal((await client.query(named(1))).rows[0].b, 'changed')
  await client.query('SAVEPOINT s')
  await assert.rejects(client.query('SELECT 1/0'), { code: '22012' })
  await client.query('ROLLBACK TO s')
  await client.query('ROLLBACK')
  assert.equal((await client.query(named(1))).rows[0].b, 'row 1')

  await client.query("SET work_mem = '7MB'")
  assert.equal((await client.query('SHOW work_mem')).rows[0].work_mem, '7MB')

  await client.query('BEGIN')
  const cursor = client.query(new Cursor('SELECT a FROM node_pg ORDER BY a', []))
  assert.equal((await cursor.read(7)).length, 7)
  assert.equal((await cursor.read(100)).length, 43)
  await cursor.close()
  await client.query('COMMIT')

  // Sent without waiting, answered in order.
  const many = await Promise.all([...Array(100).keys()].map((i) => client.query('SELECT $1::int AS n', [i])))
  many.forEach((result, i) => assert.equal(result.rows[0].n, i))
  await assert.rejects(client.query('INSERT INTO node_pg VALUES (1)'), { code: '23505' })

  const heard = new Promise((resolve) => client.on('notification', resolve))
  await client.query('LISTEN node_channel')
  const other = new Client(address)
  await other.connect()
  await other.query("NOTIFY node_channel, 'news'")
  assert.equal((await heard).payload, 'news')
  await other.end()
  await client.end()

  const pool = new Pool({ ...address, max: 5 })
  await Promise.all(
    [...Array(40).keys()].map(async (i) => {
      const member = await pool.connect()
      try {
        await member.query('BEGIN')
        await member.query('INSERT INTO node_pg VALUES ($1, $2)', [1000 + i, 'pooled'])
        assert.equal((await member.query(named(1000 + i))).rows[0].b, 'pooled')
        await member.query(i % 2 ? 'COMMIT' : 'ROLLBACK')
      } finally {
        member.release()
      }
    })
  )
  assert.equal((await pool.query("SELECT count(*)::int AS n FROM node_pg WHERE b = 'pooled'")).rows[0].n, 20)
  await pool.end()
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
