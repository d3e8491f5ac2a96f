// Sends SELECTs to the replicas, drawn by weight: a router for pgsteer in JavaScript.
//
// An interface that the world exports is an object of its name. Values of 64 bits arrive as numbers,
// exact up to 2^53: enough for `traits`, not for fingerprints, which this plugin does not use.

const SELECT = 1;
const REPLICA = 2;

// Bits of `traits`; those from 32 on, of which there are none yet, would take division, not `&`.
const READS = 1 << 0;
const NO_PLAIN_READ = (1 << 1) | (1 << 2) | (1 << 3) | (1 << 4) | (1 << 6) | (1 << 10) | (1 << 13);

const PRIMARY_IS_LEFT_ALONE = 1;

let weightMin = 0;
let replicas = [];

export const lifecycle = {
    describe: () => ({
        name: "replicas-js",
        version: "0.1.0",
        description: "Sends SELECTs to the replicas (JavaScript).",
        needs: 0,
        deterministic: true,
    }),

    // What is thrown arrives as the error of the interface.
    configure(json) {
        for (const [key, value] of Object.entries(JSON.parse(json))) {
            if (key !== "weight_min" || typeof value !== "number" || value < 0) {
                throw `${key} = ${JSON.stringify(value)}: known is weight_min, a number from 0`;
            }
            weightMin = value;
        }
    },

    needs: () => 0,

    selfTest() {
        const answer = router.decide({ class: SELECT, traits: READS });
        if (answer.route.tag !== "balanced") throw "a SELECT is not balanced";
    },
};

export const topologyListener = {
    changed({ nodes }) {
        replicas = nodes
            .filter((node) => node.usable && node.role === REPLICA && node.weight > weightMin)
            .map(({ id, weight }) => ({ node: id, weight }));
    },
};

export const router = {
    open: () => ({ class: 0, candidates: replicas }),

    decide(statement) {
        const { traits } = statement;
        const plain = (traits & READS) !== 0 && (traits & NO_PLAIN_READ) === 0;
        if (statement.class === SELECT && plain) {
            return answer({ tag: "balanced", val: "statement" }, PRIMARY_IS_LEFT_ALONE);
        }
        return answer({ tag: "abstain" }, 0);
    },

    explain: (reason) => (reason === PRIMARY_IS_LEFT_ALONE ? "a plain SELECT, to a replica" : ""),
};

function answer(route, reason) {
    return {
        route,
        reuse: "statement",
        marks: { transaction: 0, session: 0, clearTransaction: 0 },
        alsoWrites: [],
        keys: [],
        reason,
        // A replica must have replayed what was acknowledged to this session.
        limits: { fresh: 1, otherwise: "another", lagBytes: 0, lagMs: 0, waitMs: 0 },
        trustsFunctions: false,
    };
}
