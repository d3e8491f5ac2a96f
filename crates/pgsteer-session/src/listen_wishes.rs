//! What a transaction wants to hear, or not any more: it counts from the commit on, and is undone with
//! what it was part of.

use pgsteer_sql::Effect;

/// One LISTEN or UNLISTEN, or a savepoint between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Savepoint(Box<str>),
    Listen(Box<str>),
    /// Of one channel, or of all.
    Unlisten(Option<Box<str>>),
}

/// The wishes of a transaction, in order.
#[derive(Debug, Default)]
pub(crate) struct Wishes(Vec<Wish>);

impl Wishes {
    /// Notes the effect of a statement that succeeded.
    pub(crate) fn note(&mut self, effect: &Effect) {
        match effect {
            Effect::Savepoint(name) => self.0.push(Wish::Savepoint(name.clone())),
            Effect::Release(name) => {
                if let Some(at) = self.find(name) {
                    let is_savepoint = |wish: &Wish| matches!(wish, Wish::Savepoint(_));
                    let kept = self.0.split_off(at).into_iter();
                    self.0.extend(kept.filter(|wish| !is_savepoint(wish)));
                }
            }
            Effect::RollbackTo(name) => {
                if let Some(at) = self.find(name) {
                    self.0.truncate(at + 1);
                }
            }
            Effect::Listen(channel) => self.0.push(Wish::Listen(channel.clone())),
            Effect::Unlisten(channel) => self.0.push(Wish::Unlisten(channel.clone())),
            _ => {}
        }
    }

    /// Whether a channel is to be heard.
    pub(crate) fn listens(&self) -> bool {
        self.0.iter().any(|wish| matches!(wish, Wish::Listen(_)))
    }

    /// What is wished after these.
    pub(crate) fn append(&mut self, mut later: Self) {
        self.0.append(&mut later.0);
    }

    /// The wishes that hold, in order.
    pub(crate) fn into_iter(self) -> impl Iterator<Item = Wish> {
        self.0.into_iter()
    }

    fn find(&self, savepoint: &str) -> Option<usize> {
        let named = |wish: &Wish| matches!(wish, Wish::Savepoint(name) if &**name == savepoint);
        self.0.iter().rposition(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn savepoints_take_wishes_back() {
        let listen = |name: &str| Effect::Listen(name.into());
        let mut wishes = Wishes::default();
        wishes.note(&listen("a"));
        wishes.note(&Effect::Savepoint("s".into()));
        wishes.note(&listen("b"));
        wishes.note(&Effect::RollbackTo("s".into()));
        wishes.note(&listen("c"));
        wishes.note(&Effect::Savepoint("t".into()));
        wishes.note(&Effect::Unlisten(None));
        wishes.note(&Effect::Release("s".into()));
        let left: Vec<_> = wishes.into_iter().collect();
        let expected = [
            Wish::Listen("a".into()),
            Wish::Listen("c".into()),
            Wish::Unlisten(None),
        ];
        assert_eq!(left, expected);
    }
}
