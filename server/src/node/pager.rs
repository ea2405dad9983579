//! A thread that faults memory in before the shards need it, so that no command waits for the kernel.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::keyspace::Ahead;
use crate::runtime::{Fault, process};

/// Requests that may wait: each shard has at most one region ahead of it. When full, the request is
/// dropped; its pages are then faulted in one by one as they are touched.
const DEPTH: usize = 256;

/// A core's way to the pager. The thread ends when the last of them is gone.
#[derive(Clone)]
pub struct Pager {
    requests: SyncSender<Ahead>,
}

impl Pager {
    pub fn start() -> Result<Pager, Fault> {
        let (requests, waiting) = sync_channel(DEPTH);
        let thread = thread::Builder::new().name("torc-pager".to_owned());
        thread.spawn(move || serve(waiting)).map_err(|error| Fault::io("cannot start the pager", &error))?;
        Ok(Pager { requests })
    }

    pub fn ask(&self, ahead: Ahead) {
        // A full queue loses the request, which costs time later and nothing else.
        let _ = self.requests.try_send(ahead);
    }
}

fn serve(waiting: Receiver<Ahead>) {
    // Clearing a huge page takes up to some milliseconds, and a shard may want this CPU meanwhile. A shard that is
    // never idle gets its pages late, so one by one: slower on the whole, but without a pause.
    process::run_last();
    waiting.into_iter().for_each(Ahead::fault_in);
}
