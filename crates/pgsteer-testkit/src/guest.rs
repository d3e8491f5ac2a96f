//! Plugins written by hand against the canonical ABI, with one thing wrong at a time.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

/// The interface of this repository.
pub const WIT: &str = include_str!("../../../wit/v0.1/plugin.wit");

/// The part of it that is about failovers.
const FAILOVER: &str = include_str!("../../../wit/v0.1/failover.wit");

/// The fingerprint for which a guest misbehaves; the golden set does not contain it.
pub const BAD: u64 = 2989;

/// Function bodies of a guest in the text format. The defaults behave well: everybody is admitted,
/// texts are kept, everything goes to the primary, and about a failover it abstains.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Body of `describe`.
    pub describe: String,
    /// Body of `configure`.
    pub configure: String,
    /// Body of `needs`; by default all that `describe` says it may need.
    pub needs: String,
    /// Body of `self-test`.
    pub self_test: String,
    /// Body of `router.open`; the result is at 192.
    pub open: String,
    /// Body of `decide`; the fingerprint is its first parameter, the result is at 256.
    pub decide: String,
    /// Body of `explain`.
    pub explain: String,
    /// Body of `changed`.
    pub changed: String,
    /// Body of `admit`; the result is at 576.
    pub admit: String,
    /// Body of `rewriter.open`.
    pub open_rewriter: String,
    /// Body of `rewrite`, with the parameters of `decide`; the result is at 512.
    pub rewrite: String,
    /// Body of `observe`.
    pub observe: String,
    /// Body of `command`; the result is at 640.
    pub command: String,
    /// Body of `failover.decide`: `for-ms` is its sixth parameter, the number of nodes the eighth; the
    /// result is at 704.
    pub failover: String,
    /// Body of `cabi_realloc`.
    pub realloc: String,
    /// Further fields of the module, such as a start function.
    pub fields: String,
    /// Fields that must come first, such as imports.
    pub imports: String,
    /// The field that declares the memory.
    pub memory: String,
    /// The interface it is built for.
    pub wit: String,
    /// The world in it, which says which hooks it implements.
    pub world: String,
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            describe: "i32.const 64".to_owned(),
            configure: "i32.const 128".to_owned(),
            needs: "i64.const -1".to_owned(),
            self_test: "i32.const 128".to_owned(),
            open: "i32.const 192".to_owned(),
            decide: "i32.const 256".to_owned(),
            explain: "i32.const 384".to_owned(),
            changed: String::new(),
            admit: "i32.const 576".to_owned(),
            open_rewriter: "i32.const 0".to_owned(),
            rewrite: "i32.const 512".to_owned(),
            observe: String::new(),
            command: "i32.const 640".to_owned(),
            failover: "i32.const 704".to_owned(),
            realloc: REALLOC.to_owned(),
            fields: String::new(),
            imports: String::new(),
            memory: r#"(memory (export "memory") 32)"#.to_owned(),
            wit: WIT.to_owned(),
            world: "router-plugin".to_owned(),
        }
    }
}

impl Guest {
    /// Misbehaves for the statement with the fingerprint [`BAD`] only.
    #[must_use]
    pub fn bad_decide(body: &str) -> Self {
        let decide = format!("local.get 0 i64.const {BAD} i64.eq (if (then {body})) i32.const 256");
        Self {
            decide,
            ..Self::default()
        }
    }

    /// Misbehaves for real statements, whose fingerprints use all 64 bits, and not for the golden set
    /// that a new plugin is asked.
    #[must_use]
    pub fn bad_in_service(body: &str) -> Self {
        let real =
            "local.get 0 i64.const 48 i64.shr_u i64.const 1 i64.sub i64.const 65534 i64.lt_u";
        Self {
            decide: format!("{real} (if (then {body})) i32.const 256"),
            ..Self::default()
        }
    }

    /// Implements the failover hook alone, with this body.
    #[must_use]
    pub fn failover(body: &str) -> Self {
        // The package is named once.
        let interface = FAILOVER.replace("package pgsteer:plugin@0.1.0;", "");
        Self {
            failover: body.to_owned(),
            wit: format!("{WIT}\n{interface}"),
            world: "failover-plugin".to_owned(),
            ..Self::default()
        }
    }

    fn module(&self) -> String {
        let Self {
            realloc,
            fields,
            imports,
            memory,
            ..
        } = self;
        let (lifecycle, hooks) = (self.lifecycle(), self.hooks());
        format!(
            r#"(module {imports} {memory}
            (global $heap (mut i32) (i32.const 65536))
            {fields} {lifecycle} {hooks}
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
            (data (i32.const 16) "hostile")
            (data (i32.const 32) "1")
            (data (i32.const 64) "\10\00\00\00\07\00\00\00\20\00\00\00\01\00\00\00")
            (data (i32.const 256) "\01"))"#
        )
    }

    fn lifecycle(&self) -> String {
        let Self {
            describe,
            configure,
            needs,
            self_test,
            ..
        } = self;
        format!(
            r#"
            (func (export "pgsteer:plugin/lifecycle@0.1.0#describe") (result i32) {describe})
            (func (export "pgsteer:plugin/lifecycle@0.1.0#configure") (param i32 i32) (result i32)
                {configure})
            (func (export "pgsteer:plugin/lifecycle@0.1.0#needs") (result i64) {needs})
            (func (export "pgsteer:plugin/lifecycle@0.1.0#self-test") (result i32) {self_test})"#
        )
    }

    /// All there are; those that the world does not have are left out of the component.
    fn hooks(&self) -> String {
        let Self {
            open,
            decide,
            explain,
            changed,
            admit,
            open_rewriter,
            rewrite,
            observe,
            command,
            failover,
            ..
        } = self;
        let session = "(param i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)";
        let statement = "(param i64 i32 i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)
            (result i32)";
        format!(
            r#"
            (func (export "pgsteer:plugin/session@0.1.0#admit") {session} {admit})
            (func (export "pgsteer:plugin/rewriter@0.1.0#open") {session} {open_rewriter})
            (func (export "pgsteer:plugin/rewriter@0.1.0#rewrite") {statement} {rewrite})
            (func (export "pgsteer:plugin/router@0.1.0#open") {session} {open})
            (func $decide (export "pgsteer:plugin/router@0.1.0#decide") {statement} {decide})
            (func (export "pgsteer:plugin/router@0.1.0#explain") (param i32) (result i32)
                {explain})
            (func (export "pgsteer:plugin/observer@0.1.0#observe") (param i32 i32 i64) {observe})
            (func (export "pgsteer:plugin/topology-listener@0.1.0#changed") (param i64 i32 i32)
                {changed})
            (func (export "pgsteer:plugin/operator@0.1.0#command") (param i32 i32) (result i32)
                {command})
            (func (export "pgsteer:plugin/failover@0.1.0#decide") (param i32 i32 i32 i32 i32
                i64 i32 i32 i32 i32 i32 i32) (result i32) {failover})"#
        )
    }

    /// The component.
    ///
    /// # Panics
    /// A body is not valid.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let module = wat::parse_str(self.module()).expect("the text of the guest is valid");
        encode(module, &self.wit, &self.world)
    }
}

/// A component whose functions do nothing but trap, for another version of the interface.
///
/// # Panics
/// There is no such world.
#[must_use]
pub fn dummy(wit: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve
        .push_source("plugin.wit", wit)
        .expect("the interface is valid");
    let world_id = resolve
        .select_world(&[package], Some(world))
        .expect("the world exists");
    let module = wit_component::dummy_module(&resolve, world_id, ManglingAndAbi::Standard32);
    encode(module, wit, world)
}

fn encode(mut module: Vec<u8>, wit: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve
        .push_source("plugin.wit", wit)
        .expect("the interface is valid");
    let world = resolve
        .select_world(&[package], Some(world))
        .expect("the world exists");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("metadata can be embedded");
    let mut encoder = ComponentEncoder::default()
        .validate(false)
        .module(&module)
        .expect("the module fits the interface");
    encoder.encode().expect("the module can be wrapped")
}

/// Hands out memory upwards and begins again after a MiB: no value of a test lives longer.
const REALLOC: &str = "
    global.get $heap i32.const 1048576 i32.gt_u
    (if (then i32.const 65536 global.set $heap))
    global.get $heap
    global.get $heap local.get 3 i32.add i32.const 7 i32.add i32.const -8 i32.and global.set $heap";
