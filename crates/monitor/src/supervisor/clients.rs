//! Attached clients: their input, their detach keys, their coming and going.
//!
//! Docker's rules for the end of a client's input: with `StdinOnce` and no terminal the process' input
//! ends too and the output goes on; otherwise the client's output ends with its input, and the
//! process notices nothing.

use davit_sys::epoll::{Interest, Ready};

use super::{Backend, State, Supervisor, Token, insert};
use crate::attached::{Attached, READ, Sent};
use crate::protocol::Event;
use crate::task::Stdin;

impl<B: Backend> Supervisor<B> {
    pub(super) fn add_client(&mut self, client: Attached) {
        let index = insert(&mut self.clients, client);
        self.watch_client(index);
        let client = self.clients[index].as_mut().expect("just put there");
        let early = std::mem::take(&mut client.early);
        if !early.is_empty() {
            self.take_input(index, &early);
        }
    }

    pub(super) fn client_ready(&mut self, index: usize, event: Ready) {
        if event.writable
            && let Some(client) = &mut self.clients[index]
            && !client.flush()
        {
            self.client_vanished(index);
        }
        if event.readable && !self.input.is_backed_up() {
            self.read_client(index);
        }
        if event.hung_up {
            self.client_vanished(index);
        }
        self.settle_client(index);
        self.watch_outputs();
    }

    /// The process takes input again.
    pub(super) fn input_ready(&mut self) {
        self.input.flush();
        self.watch_input();
        for index in 0..self.clients.len() {
            if self.input.is_backed_up() {
                break;
            }
            // Epoll does not tell of those that are gone; they may have left input.
            if self.clients[index].as_ref().is_some_and(Attached::is_gone) {
                while !self.input.is_backed_up() && self.read_client(index) {}
                self.settle_client(index);
            }
        }
    }

    /// The other side is gone. Input it sent before is still the process'.
    pub(super) fn client_vanished(&mut self, index: usize) {
        let Some(client) = &mut self.clients[index] else { return };
        client.vanish();
        self.watch_client(index);
        while !self.input.is_backed_up() && self.read_client(index) {}
        self.settle_client(index);
    }

    /// Tells epoll what to wait for.
    pub(super) fn watch_client(&mut self, index: usize) {
        let backed_up = self.input.is_backed_up();
        let Some(client) = &mut self.clients[index] else { return };
        let wanted = client.interest(backed_up);
        if wanted == client.watched {
            return;
        }
        let token = Token::Client(index).number();
        // Fails only for a descriptor that is no socket, which then gets no events: a client of its
        // own making.
        let _ = match (client.watched, wanted) {
            (None, Some(interest)) => self.epoll.add(&*client, token, interest),
            (Some(_), Some(interest)) => self.epoll.modify(&*client, token, interest),
            (_, None) => self.epoll.remove(&*client),
        };
        client.watched = wanted;
    }

    /// No more output will come: clients get what is queued, then the end.
    pub(super) fn finish_clients(&mut self) {
        for index in 0..self.clients.len() {
            if let Some(client) = &mut self.clients[index] {
                client.finish();
            }
            self.settle_client(index);
        }
    }

    pub(super) fn drop_clients(&mut self) {
        for index in 0..self.clients.len() {
            self.drop_client(index);
        }
    }

    pub(super) fn has_clients(&self) -> bool {
        self.clients.iter().any(Option::is_some)
    }

    fn drop_client(&mut self, index: usize) {
        let Some(client) = self.clients[index].take() else { return };
        if client.watched.is_some() {
            let _ = self.epoll.remove(&client);
        }
        client.shut_down();
    }

    /// Drops a client that is done, and brings epoll up to date for one that is not.
    fn settle_client(&mut self, index: usize) {
        let Some(client) = &self.clients[index] else { return };
        if client.is_done() && !(client.is_gone() && client.input_open) {
            self.drop_client(index);
            self.client_left();
        } else {
            self.watch_client(index);
        }
    }

    /// One read of a client's input. False: there is nothing to read for now.
    fn read_client(&mut self, index: usize) -> bool {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(READ, 0);
        let sent = match &self.clients[index] {
            Some(client) if client.input_open => client.read(&mut buffer),
            _ => Sent::Nothing,
        };
        let more = match sent {
            Sent::Nothing => false,
            Sent::Bytes(bytes) => {
                self.take_input(index, bytes);
                true
            }
            Sent::End => {
                self.input_ended(index);
                false
            }
        };
        self.buffer = buffer;
        more
    }

    fn take_input(&mut self, index: usize, bytes: &[u8]) {
        let Some(client) = &mut self.clients[index] else { return };
        if !client.keys.is_active() {
            self.input.push(bytes);
        } else {
            let filtered = client.keys.filter(bytes);
            self.input.push(&filtered.input);
            if filtered.detached {
                self.drop_client(index);
                self.tell(&Event::Detached);
            }
        }
        self.watch_input();
    }

    fn input_ended(&mut self, index: usize) {
        let Some(client) = &mut self.clients[index] else { return };
        client.input_open = false;
        if self.stdin == Stdin::Once && self.console.is_none() {
            self.input.close();
            self.watch_input();
        } else {
            self.drop_client(index);
        }
    }

    /// Waits for the process to take the backlog, and for clients only while there is none.
    fn watch_input(&mut self) {
        let backed_up = self.input.is_backed_up();
        if backed_up != self.input_watched {
            if let Some(fd) = self.input.fd() {
                let token = Token::Input.number();
                let _ = if backed_up {
                    self.epoll.add(fd, token, Interest::WRITE)
                } else {
                    self.epoll.remove(fd)
                };
            }
            self.input_watched = backed_up;
            for index in 0..self.clients.len() {
                self.watch_client(index);
            }
        }
    }

    /// A client less may be what the end was waiting for.
    fn client_left(&mut self) {
        if self.has_clients() {
            return;
        }
        match self.state {
            State::Draining { .. } => self.conclude(),
            State::Ended => self.leave(),
            _ => {}
        }
    }
}
