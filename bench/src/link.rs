//! A link that can be cut: a proxy between a replica and its primary. While it is cut, every connection through it is
//! closed and new ones end at once.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often flags are looked at.
const TICK: Duration = Duration::from_millis(10);

pub struct Link {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    target: SocketAddr,
    cut: AtomicBool,
    ended: AtomicBool,
}

impl Shared {
    fn closed(&self) -> bool {
        self.cut.load(Ordering::Relaxed) || self.ended.load(Ordering::Relaxed)
    }
}

impl Link {
    pub fn to(target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { target, cut: AtomicBool::new(false), ended: AtomicBool::new(false) });
        let own = Arc::clone(&shared);
        let acceptor = Some(thread::spawn(move || accept(&listener, &own)));
        Ok(Self { address, shared, acceptor })
    }

    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::Relaxed);
    }

    pub fn mend(&self) {
        self.shared.cut.store(false, Ordering::Relaxed);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.ended.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((near, _)) if !shared.closed() => {
                // Without the other end this one closes too, and its owner tries again.
                let _ = join(near, shared);
            }
            Ok(_) => {}
            Err(_) => thread::sleep(TICK),
        }
    }
}

fn join(near: TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    let far = TcpStream::connect(shared.target)?;
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        from.set_nonblocking(false)?;
        from.set_read_timeout(Some(TICK))?;
        from.set_nodelay(true)?;
        let shared = Arc::clone(shared);
        thread::spawn(move || pump(from, to, &shared));
    }
    Ok(())
}

/// Copies until either end or the link closes, then closes both. Writes may block; the other direction, in which
/// little flows, sees the cut then and ends this one too.
fn pump(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut buffer = vec![0; 256 * 1024];
    while !shared.closed() {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                if to.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_link_closes_what_goes_through_it_and_a_mended_one_carries_again() {
        let far = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let link = Link::to(far.local_addr().expect("bound")).expect("a link");
        let connect = || {
            let near = TcpStream::connect(link.address).expect("the link listens");
            near.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
            near
        };
        let mut near = connect();
        let (mut end, _) = far.accept().expect("the link connects");
        let mut byte = [0];
        near.write_all(b"a").expect("carried");
        end.read_exact(&mut byte).expect("arrives");
        assert_eq!(&byte, b"a");
        link.cut();
        assert_eq!(near.read(&mut byte).expect("closed in order"), 0);
        link.mend();
        let mut near = connect();
        let (mut end, _) = far.accept().expect("the link connects again");
        end.write_all(b"b").expect("carried");
        near.read_exact(&mut byte).expect("arrives");
        assert_eq!(&byte, b"b");
    }
}
