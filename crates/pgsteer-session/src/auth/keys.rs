//! What sessions log in to servers with: the newest proof of each user, shared by all its sessions on
//! a worker, so that a session can open a connection long after its own login, and after a password
//! was changed, too. In memory only.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgsteer_core::Settings;
use pgsteer_pool::Credential;

use super::credential;

/// Users without a session that are remembered, per worker; ours.
const IDLE_MAX: usize = 10_000;

/// What is known of one user.
#[derive(Debug, Default)]
pub(crate) struct Keys(RefCell<Credential>);

impl Keys {
    /// What to log in with as this user: the password of the settings, or what the newest login
    /// proved.
    pub(crate) fn newest(&self, settings: &Settings, user: &str) -> Credential {
        let known = settings.users.get(user).and_then(|user| user.password());
        match known {
            Some(password) => Credential::Password(password.clone()),
            None => self.0.borrow().clone(),
        }
    }
}

/// All users of a worker.
#[derive(Debug, Default)]
pub(crate) struct Keyring(HashMap<Rc<str>, Rc<Keys>>);

impl Keyring {
    /// A user has logged in with this.
    pub(crate) fn enter(&mut self, user: &Rc<str>, proven: Credential) -> Rc<Keys> {
        let keys = match self.0.get(user) {
            Some(keys) => Rc::clone(keys),
            None => {
                if self.0.len() >= IDLE_MAX {
                    self.0.retain(|_, keys| Rc::strong_count(keys) > 1);
                }
                let keys = Rc::<Keys>::default();
                self.0.insert(Rc::clone(user), Rc::clone(&keys));
                keys
            }
        };
        // A login that proved nothing, such as one that was trusted, says nothing new.
        if !proven.is_nothing() {
            *keys.0.borrow_mut() = proven;
        }
        keys
    }

    /// What to log in with as a user that may have no session; nothing if it never had one.
    pub(crate) fn newest(&self, settings: &Settings, user: &str) -> Credential {
        match self.0.get(user) {
            Some(keys) => keys.newest(settings, user),
            None => {
                let user = settings.users.get(user);
                user.map(|user| credential(&user.secret))
                    .unwrap_or_default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_proof_is_for_all_sessions_and_users_come_and_go() {
        let mut ring = Keyring::default();
        let ann: Rc<str> = "ann".into();
        let first = ring.enter(&ann, Credential::Md5("one".into()));
        let trusted = ring.enter(&ann, Credential::Nothing);
        assert!(Rc::ptr_eq(&first, &trusted));
        ring.enter(&ann, Credential::Password("two".into()));
        assert!(matches!(&*first.0.borrow(), Credential::Password(p) if &**p == "two"));
        for number in 0..IDLE_MAX * 2 {
            ring.enter(&number.to_string().into(), Credential::Nothing);
        }
        assert!(ring.0.len() <= IDLE_MAX + 1);
        assert!(ring.0.contains_key(&ann), "it has a session");
    }
}
