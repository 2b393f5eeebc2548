//! The bell that wakes a core: one eventfd, rung by every ring of the core.

use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};

use glommio::io::BufferedFile;
use rustix::event::{EventfdFlags, eventfd};

/// The waiting end, read through glommio, so that the executor sleeps in one place only.
pub struct Doorbell {
    file: BufferedFile,
    descriptor: OwnedFd,
}

impl Doorbell {
    /// A silent bell; to be made on the executor that will wait for it.
    ///
    /// # Errors
    /// When the process may have no more descriptors.
    pub fn new() -> std::io::Result<Doorbell> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC)?;
        let read_end = descriptor.try_clone()?;
        // SAFETY: the descriptor was just made by `try_clone`, nothing else uses it, and it passes
        // into the file, which closes it. Exercised by every run of a core.
        let file = unsafe { BufferedFile::from_raw_fd(read_end.into_raw_fd()) };
        Ok(Doorbell { file, descriptor })
    }

    /// Waits until the bell has rung since the last wait.
    ///
    /// # Errors
    /// When the executor's ring cannot read.
    pub async fn rung(&self) -> std::io::Result<()> {
        self.file.read_at(0, size_of::<u64>()).await?;
        Ok(())
    }

    /// What rings it from another thread.
    ///
    /// # Errors
    /// When the process may have no more descriptors.
    pub fn ringer(&self) -> std::io::Result<Ringer> {
        self.descriptor().map(Ringer)
    }

    pub(crate) fn descriptor(&self) -> std::io::Result<OwnedFd> {
        self.descriptor.as_fd().try_clone_to_owned()
    }

    /// Closes the file that waits.
    pub async fn close(self) {
        // A failed close of an eventfd loses nothing.
        let _ = self.file.close().await;
    }
}

/// Rings a bell from a thread that has no executor.
#[derive(Debug)]
pub struct Ringer(OwnedFd);

impl Ringer {
    /// Rings once.
    pub fn ring(&self) {
        // It fails when it was rung 2^64 times and not heard.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}
