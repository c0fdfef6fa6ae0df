//! Network devices of the host on their way into a container, and back when its creation fails.
//!
//! A device that moves goes down and loses its addresses: they are read before and given again after.
//! In the end devices stay where they are: with the namespace the kernel takes physical ones back to
//! the host and deletes virtual ones, as the specification has it.

mod route;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use davit_sys::namespace;
use netlink_packet_route::address::AddressMessage;

use self::route::{Link, Route};
use crate::Failure;
use crate::failure::{Step, text};
use crate::plan::NetDevice;

const STAGE: &str = "netDevices";

/// The two ends of the way, and the devices that have gone it.
#[derive(Debug)]
pub(crate) struct Moves {
    host: Place,
    container: Place,
    moved: Vec<Moved>,
}

/// A network namespace.
#[derive(Debug)]
struct Place {
    namespace: File,
    route: Route,
}

/// A device in the container as it was on the host.
#[derive(Debug)]
struct Moved {
    index: u32,
    host: String,
    was_up: bool,
    addresses: Vec<AddressMessage>,
}

impl Moves {
    /// The way from the caller's network namespace to that of process `pid`.
    pub(crate) fn to(pid: i32) -> Result<Self, Failure> {
        let own = "/proc/thread-self/ns/net";
        let path = format!("/proc/{pid}/ns/net");
        let here = File::open(own).step("open", own)?;
        let there = File::open(&path).step("open", &path)?;
        let inode = |file: &File| file.metadata().map(|data| (data.dev(), data.ino()));
        if inode(&here).step("stat", own)? == inode(&there).step("stat", &path)? {
            let message = "unable to move network devices: the container's network namespace is \
                           the host's";
            return Err(text(STAGE, "", message));
        }
        let host = Route::open().step("open", "netlink socket")?;
        namespace::setns(there.as_fd(), namespace::NETWORK).step("join", &path)?;
        let container = Route::open();
        namespace::setns(here.as_fd(), namespace::NETWORK).step("join", own)?;
        let container = container.step("open", "netlink socket")?;
        Ok(Self {
            host: Place { namespace: here, route: host },
            container: Place { namespace: there, route: container },
            moved: Vec::new(),
        })
    }

    /// Takes a device into the container. What has moved when this fails goes back with the others.
    pub(crate) fn take(&mut self, device: &NetDevice) -> Result<(), Failure> {
        const MOVE: &str = "move network device";
        let links = self.host.route.links().step(MOVE, &device.host)?;
        let link = links.into_iter().find(|link| link.name == device.host);
        let link = link.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV));
        let link = link.step(MOVE, &device.host)?;
        let present = self.container.route.links().step(MOVE, &device.host)?;
        if present.iter().any(|present| present.name == device.name) {
            let NetDevice { host, name } = device;
            let message =
                format!("move network device {host}: the container has a device {name:?} already");
            return Err(Failure { errno: libc::EEXIST, ..text(STAGE, host, message) });
        }
        let addresses = self.host.route.addresses(link.index).step(MOVE, &device.host)?;
        let (index, result) = carry(&self.host, &self.container, &link, &device.name);
        if let Some(index) = index {
            let host = device.host.clone();
            self.moved.push(Moved { index, host, was_up: link.is_up, addresses });
        }
        result.step(MOVE, &device.host)?;
        let Some(moved) = self.moved.last().filter(|_| index.is_some()) else {
            return Err(text(STAGE, &device.host, "the network device has not arrived"));
        };
        let route = &self.container.route;
        let given =
            moved.addresses.iter().try_for_each(|address| route.add_address(moved.index, address));
        given.step("keep addresses of network device", &device.host)?;
        route.set_up(moved.index).step("bring up network device", &device.host)
    }

    /// Returns the devices to the host, as they were there. This is for a failure that is on its way
    /// already: what fails here is left out.
    pub(crate) fn give_back(self) {
        for moved in &self.moved {
            let Moved { index, host, .. } = moved;
            let link = Link { index: *index, name: String::new(), is_up: false };
            let back = |name: &str| carry(&self.container, &self.host, &link, name).0;
            // Somebody may have taken its name meanwhile.
            let Some(index) = back(host).or_else(|| back("dev%d")) else { continue };
            for address in &moved.addresses {
                let _ = self.host.route.add_address(index, address);
            }
            if moved.was_up {
                let _ = self.host.route.set_up(index);
            }
        }
    }
}

/// Moves a device and finds it again: it may have got another number, and a name that the kernel made.
/// It may have moved even if something failed.
fn carry(from: &Place, to: &Place, link: &Link, name: &str) -> (Option<u32>, io::Result<()>) {
    let present = match to.route.links() {
        Ok(present) => present,
        Err(error) => return (None, Err(error)),
    };
    let result = from.route.send_away(link.index, &to.namespace, name);
    let is_new = |link: &Link| !present.iter().any(|present| present.index == link.index);
    match to.route.links() {
        Ok(links) => (links.into_iter().find(is_new).map(|link| link.index), result),
        Err(error) => (None, result.and(Err(error))),
    }
}
