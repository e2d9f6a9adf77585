//! The daemon's own way to the data plane, which may be closed while others reach it by theirs.

use std::{
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

pub(crate) struct Gateway {
    address: SocketAddr,
    /// Has its address and does not listen there: who connects is refused.
    closed: Option<OwnedFd>,
    leads_there: Arc<AtomicBool>,
}

impl Gateway {
    /// Refuses every connection.
    pub(crate) fn closed() -> Self {
        let closed = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&closed, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = getsockname(&closed).unwrap().try_into().unwrap();
        Self { address, closed: Some(closed), leads_there: Arc::default() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Leads there from now on.
    pub(crate) fn open(&mut self, to: SocketAddr) {
        self.leads_there.store(true, Ordering::SeqCst);
        let Some(socket) = self.closed.take() else { return };
        listen(&socket, 128).unwrap();
        let (listener, leads_there) = (TcpListener::from(socket), self.leads_there.clone());
        std::thread::spawn(move || {
            // Held open: who waits for an answer gets none.
            let mut silent = Vec::new();
            for client in listener.incoming().map_while(Result::ok) {
                if leads_there.load(Ordering::SeqCst) {
                    std::thread::spawn(move || forward(client, to));
                } else {
                    silent.push(client);
                }
            }
        });
    }

    /// Takes connections from now on, and never answers.
    pub(crate) fn fall_silent(&self) {
        self.leads_there.store(false, Ordering::SeqCst);
    }
}

/// Both ways, until either has said all.
pub(crate) fn forward(client: TcpStream, to: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(to)?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _cut = io::copy(&mut from_client, &mut to_server);
        to_server.shutdown(Shutdown::Write)
    });
    let _cut = io::copy(&mut &server, &mut &client);
    client.shutdown(Shutdown::Both)
}
