//! Connections to daemons and their requests.

use std::os::fd::OwnedFd;

use davit_sys::epoll::Interest;
use davit_sys::{fdpass, pidfd, pty};

use super::{Backend, State, Supervisor, Token, insert};
use crate::attached::Attached;
use crate::connection::{Connection, Incoming};
use crate::protocol::{Attach, Event, Request, RequestMessage, VERSION};

const SIGKILL: i32 = 9;

impl<B: Backend> Supervisor<B> {
    /// Takes in a connection.
    pub(super) fn add_connection(&mut self, socket: OwnedFd) -> Option<usize> {
        let connection = Connection::new(socket).ok()?;
        let index = insert(&mut self.connections, connection);
        let connection = self.connections[index].as_ref().expect("just put there");
        let token = Token::Connection(index).number();
        if self.epoll.add(connection, token, Interest::READ).is_err() {
            self.connections[index] = None;
            return None;
        }
        Some(index)
    }

    pub(super) fn accept(&mut self) {
        while let Some(Ok(socket)) = self.listener.as_ref().map(fdpass::accept) {
            if let Some(index) = self.add_connection(socket) {
                let status = self.status();
                self.answer(index, &Event::Hello { version: VERSION, status });
            }
        }
    }

    pub(super) fn connection_ready(&mut self, index: usize) {
        while let Some(connection) = &self.connections[index] {
            match connection.receive() {
                Incoming::Request(message, fd) => self.request(index, message, fd),
                Incoming::Nothing => break,
                Incoming::Gone => self.forget_connection(index),
            }
        }
    }

    /// The other side has gone. A process that nobody is left to start is given up.
    fn forget_connection(&mut self, index: usize) {
        if let Some(connection) = self.connections[index].take() {
            // Closing alone would not do while the process that waits for its start has a copy of the
            // socket: it would stay in the epoll, ready for ever.
            let _ = self.epoll.remove(&connection);
        }
        let nobody_left = self.connections.iter().all(Option::is_none);
        if self.state == State::Created && nobody_left {
            // Its end is taken in as that of any process; dead already is fine.
            let _ = self.signal(SIGKILL, true);
        }
    }

    fn request(&mut self, index: usize, message: RequestMessage, fd: Option<OwnedFd>) {
        let done = match message.request {
            Request::Start if self.state == State::Created => return self.start(),
            Request::Start => Err("it was started already".to_owned()),
            Request::Attach(attach) => return self.attach(index, message.number, attach, fd),
            Request::Signal { signal, cancel_restart } => self.signal(signal, cancel_restart),
            Request::Resize { height, width } => self.resize(height, width),
            Request::SetRestartPolicy(policy) => {
                self.policy = policy;
                Ok(())
            }
        };
        self.answer(index, &Event::Reply { number: message.number, error: done.err() });
    }

    fn answer(&mut self, index: usize, event: &Event) {
        let slot = &mut self.connections[index];
        if slot.as_ref().is_some_and(|connection| !connection.send(event)) {
            *slot = None;
        }
    }

    /// The reply comes before any output or end of the stream.
    fn attach(&mut self, index: usize, number: u32, attach: Attach, fd: Option<OwnedFd>) {
        let client = match (self.state, fd) {
            (State::Created | State::Running, Some(socket)) => {
                Attached::new(attach, socket, self.console.is_some())
                    .map_err(|error| format!("{error:#}"))
            }
            (State::Created | State::Running, None) => Err("no stream came with it".to_owned()),
            _ => Err("the process is not running".to_owned()),
        };
        let (client, error) = match client {
            Ok(client) => (Some(client), None),
            Err(error) => (None, Some(error)),
        };
        self.answer(index, &Event::Reply { number, error });
        if let Some(client) = client {
            self.add_client(client);
        }
    }

    fn signal(&mut self, signal: i32, cancel_restart: bool) -> Result<(), String> {
        self.stopped_by_user |= cancel_restart;
        match self.state {
            State::Created | State::Running => {
                let pidfd = self.process.pidfd.as_ref().ok_or("the process has ended")?;
                pidfd::send_signal(pidfd, signal).map_err(|error| error.to_string())
            }
            State::Waiting if cancel_restart => {
                self.give_up_restart();
                Ok(())
            }
            _ => Err("the process is not running".to_owned()),
        }
    }

    fn resize(&self, height: u16, width: u16) -> Result<(), String> {
        let console = self.console.as_ref().ok_or("the process has no terminal")?;
        pty::set_size(console, height, width).map_err(|error| error.to_string())
    }
}
