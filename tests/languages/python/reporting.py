"""Sends reads of one schema to one node: a router for pgsteer in Python.

componentize-py looks for a class named after each interface that the world exports.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import lifecycle, router

SELECT = 1
READS, WRITES = 1 << 0, 1 << 1
NEEDS_RELATIONS = 1 << 1

NO_OPINION, REPORT = 0, 1


class State:
    """There is one instance for each worker of the proxy; this is all it keeps."""

    schema = "reporting"
    node = 2


class Lifecycle(exports.Lifecycle):
    def describe(self):
        return lifecycle.Manifest(
            name="reporting-py",
            version="0.1.0",
            description="Sends reads of one schema to one node (Python).",
            needs=NEEDS_RELATIONS,
            deterministic=True,
        )

    # The parameter shadows the module `json`, and cannot have another name.
    def configure(self, json):
        read_configuration(json)

    def needs(self):
        return NEEDS_RELATIONS

    def self_test(self):
        if not is_report([relation(State.schema)]) or is_report([relation(None)]):
            raise Err("the schema is not recognised")


class Router(exports.Router):
    def open(self, session):
        return router.Opening(class_=0, candidates=[])

    def decide(self, statement):
        reads = statement.traits & (READS | WRITES) == READS
        if statement.class_ == SELECT and reads and is_report(statement.relations):
            return answer(router.Route_Node(State.node), REPORT)
        return answer(router.Route_Abstain(), NO_OPINION)

    def explain(self, reason):
        return f"reads of schema {State.schema}" if reason == REPORT else ""


class TopologyListener(exports.TopologyListener):
    def changed(self, topology):
        pass


def read_configuration(text):
    given = json.loads(text)
    for key, value in given.items():
        if key == "schema" and isinstance(value, str) and value:
            State.schema = value
        elif key == "node" and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            State.node = value
        else:
            raise Err(f"{key} = {value!r}: known are schema (a name) and node (a number from 0)")


def is_report(relations):
    return any(r.schema == State.schema for r in relations)


def relation(schema):
    from wit_world.imports import types

    return types.Relation(schema=schema, name="t", written=False)


def answer(route, reason):
    return router.Routed(
        route=route,
        reuse=router.Reuse.STATEMENT,
        marks=router.Marks(transaction=0, session=0, clear_transaction=0),
        also_writes=[],
        keys=[],
        reason=reason,
        limits=router.Limits(
            fresh=0, otherwise=router.Fallback.PRIMARY, lag_bytes=0, lag_ms=0, wait_ms=0
        ),
        trusts_functions=False,
    )
