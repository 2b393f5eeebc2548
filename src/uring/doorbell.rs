//! The bell that wakes a core: one eventfd, rung by every ring of the core and by other threads.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;

use glommio::io::BufferedFile;
use rustix::event::{EventfdFlags, eventfd};

/// The waiting end, read through glommio, so that the executor sleeps in one place only.
pub struct Doorbell {
    file: BufferedFile,
    descriptor: Arc<OwnedFd>,
}

/// The ringing end, for any thread.
#[derive(Clone)]
pub struct Ringer(Arc<OwnedFd>);

impl Doorbell {
    /// A silent bell; to be made on the executor that will wait for it.
    ///
    /// # Errors
    /// When the process may have no more descriptors.
    pub fn new() -> std::io::Result<Doorbell> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC)?;
        let read_end = descriptor.try_clone()?;
        // SAFETY: the descriptor was just made by `try_clone`, nobody else knows it, and it passes
        // into the file, which closes it. Exercised by every run of a core.
        let file = unsafe { BufferedFile::from_raw_fd(read_end.into_raw_fd()) };
        Ok(Doorbell { file, descriptor: Arc::new(descriptor) })
    }

    /// Waits until the bell has rung since the last wait.
    ///
    /// # Errors
    /// When the executor's ring cannot read.
    pub async fn rung(&self) -> std::io::Result<()> {
        self.file.read_at(0, size_of::<u64>()).await?;
        Ok(())
    }

    /// An end that rings.
    #[must_use]
    pub fn ringer(&self) -> Ringer {
        Ringer(Arc::clone(&self.descriptor))
    }

    pub(super) fn descriptor(&self) -> std::io::Result<OwnedFd> {
        self.descriptor.as_fd().try_clone_to_owned()
    }

    /// Closes the file that waits.
    pub async fn close(self) {
        // A failed close of an eventfd loses nothing.
        let _ = self.file.close().await;
    }
}

impl Ringer {
    /// Wakes the core, or keeps it from going to sleep.
    pub fn ring(&self) {
        // The write fails only when the counter is full; then the bell has rung anyway.
        let _ = rustix::io::write(self.0.as_fd(), &1_u64.to_ne_bytes());
    }
}

impl std::fmt::Debug for Ringer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ringer({})", self.0.as_raw_fd())
    }
}
