//! Runs plugins: WebAssembly components behind the policy traits of pgsteer-core.
