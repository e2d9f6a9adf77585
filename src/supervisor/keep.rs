//! Connections that are to outlive this process (systemd.service(5), FileDescriptorStoreMax=).

use std::{
    env,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{fd::BorrowedFd, unix::net::UnixDatagram},
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sd_notify::NotifyState;

use super::{Supervisor, tell};

impl Supervisor {
    /// Keep this connection under this name, and pass it to the next process where this one is killed.
    pub fn keep(self, name: &str, connection: BorrowedFd<'_>) {
        if let Err(error) = tell_with(&format!("FDSTORE=1\nFDNAME={name}\n"), connection) {
            tracing::warn!("the supervisor cannot keep a connection: {error}");
        }
    }

    /// What is kept under this name is not needed any more.
    pub fn release(self, name: &str) {
        tell(&[NotifyState::Custom("FDSTOREREMOVE=1"), NotifyState::Custom(&format!("FDNAME={name}"))]);
    }
}

/// With a file descriptor, which the crate does with another crate.
fn tell_with(text: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(&socket, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::Read as _,
        os::{
            fd::{AsFd as _, OwnedFd},
            unix::net::UnixStream,
        },
    };

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::{super::tests::as_service, *};

    /// A message, and the file descriptor that came with it.
    fn receive(socket: &UnixDatagram) -> (String, Option<OwnedFd>) {
        let (mut buffer, mut space) = ([0; 4096], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))]);
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [io::IoSliceMut::new(&mut buffer)];
        let length = recvmsg(socket, &mut into, &mut control, RecvFlags::DONTWAIT).expect("a message").bytes;
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let fd = fds.last();
        (String::from_utf8(buffer[..length].to_vec()).expect("text"), fd)
    }

    #[test]
    fn a_connection_that_systemd_keeps_outlives_this_process() {
        if env::var_os("NOTIFY_SOCKET").is_some() {
            let (here, mut there) = UnixStream::pair().expect("a pair");
            Supervisor.keep("credential-1f", here.as_fd());
            io::Write::write_all(&mut there, b"still there").expect("written");
            return Supervisor.release("credential-1f");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        as_service(
            "keep::tests::a_connection_that_systemd_keeps_outlives_this_process",
            &[("NOTIFY_SOCKET", path.to_str().expect("text"))],
        );
        let (text, fd) = receive(&socket);
        assert_eq!(text, "FDSTORE=1\nFDNAME=credential-1f\n");
        let mut said = String::new();
        File::from(fd.expect("a connection")).read_to_string(&mut said).expect("read");
        assert_eq!(said, "still there");
        let (text, fd) = receive(&socket);
        assert_eq!((text.as_str(), fd.is_none()), ("FDSTOREREMOVE=1\nFDNAME=credential-1f\n", true));
    }
}
