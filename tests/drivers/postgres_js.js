// postgres.js: prepared statements of its own accord, pipelines, transactions, cursors, COPY, LISTEN.
const assert = require('node:assert')
const { pipeline } = require('node:stream/promises')
const { Readable } = require('node:stream')
const postgres = require('postgres')

const [port, database] = process.argv.slice(2)
const options = { host: '127.0.0.1', port, user: 'postgres', password: 'password', database, onnotice: () => {} }

async function main() {
  const sql = postgres({ ...options, max: 5 })
  await sql`CREATE TABLE postgres_js (a int PRIMARY KEY, b text)`
  const rows = [...Array(50).keys()].map((a) => ({ a, b: `row ${a}` }))
  await sql`INSERT INTO postgres_js ${sql(rows)}`
  for (let i = 0; i < 30; i++) assert.equal((await sql`SELECT b FROM postgres_js WHERE a = ${i}`)[0].b, `row ${i}`)
  const many = await Promise.all([...Array(200).keys()].map((i) => sql`SELECT ${i}::int AS n`))
  many.forEach((result, i) => assert.equal(result[0].n, i))

  await sql.begin(async (sql) => {
    await sql`UPDATE postgres_js SET b = 'changed' WHERE a = 1`
    await sql.savepoint((sql) => sql`SELECT 1/0`).catch((error) => assert.equal(error.code, '22012'))
    const pipelined = await Promise.all([sql`SELECT b FROM postgres_js WHERE a = 1`, sql`SELECT 2 AS n`])
    assert.equal(pipelined[0][0].b, 'changed')
  })
  await assert.rejects(
    sql.begin(async (sql) => {
      await sql`DELETE FROM postgres_js`
      throw new Error('no')
    })
  )
  assert.equal((await sql`SELECT count(*)::int AS n FROM postgres_js`)[0].n, 50)

  let read = 0
  await sql`SELECT a FROM postgres_js ORDER BY a`.cursor(7, (rows) => {
    read += rows.length
  })
  assert.equal(read, 50)
  const lines = [...Array(500).keys()].map((i) => `${1000 + i}\tcopied\n`)
  await pipeline(Readable.from(lines), await sql`COPY postgres_js FROM STDIN`.writable())
  assert.equal((await sql`SELECT count(*)::int AS n FROM postgres_js WHERE b = 'copied'`)[0].n, 500)
  await assert.rejects(sql`SELECT * FROM nowhere`, { code: '42P01' })
  await sql.unsafe('SELECT 1; SELECT 2').simple()

  const reserved = await sql.reserve()
  await reserved`SET work_mem = '7MB'`
  assert.equal((await reserved`SHOW work_mem`)[0].work_mem, '7MB')
  reserved.release()

  let resolve
  const heard = new Promise((r) => (resolve = r))
  await sql.listen('js_channel', resolve)
  await sql.notify('js_channel', 'news')
  assert.equal(await heard, 'news')

  const sleeping = sql`SELECT pg_sleep(60)`.execute()
  // Cancelled once it runs.
  const running = "SELECT count(*)::int AS n FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
  while ((await sql.unsafe(running))[0].n === 0);
  sleeping.cancel()
  await assert.rejects(sleeping, { code: '57014' })
  await sql.end()
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
