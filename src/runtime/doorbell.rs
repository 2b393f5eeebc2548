//! From the doorbell, which every ring of a core rings, to the core's pump.

use std::cell::RefCell;
use std::rc::Rc;

use crate::runtime::pump::Inbox;
use crate::sys::doorbell::Doorbell;

/// Passes each ring on to the pump. A task of its own, because glommio keeps a waker for every poll of
/// a read that is not done: a pump that looked at the bell each time it wakes by the clock would gather
/// them, and a task may have 32,767 at most.
pub(super) async fn forward_doorbell<M>(bell: Rc<Doorbell>, inbox: Rc<RefCell<Inbox<M>>>) {
    loop {
        bell.rung().await.expect("an eventfd can be read while it is open");
        inbox.borrow_mut().ring();
    }
}
