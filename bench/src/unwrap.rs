//! The yardstick of `bench-mix`: `sphinx-packet` alone. In processor time, as the mix itself is measured: on a machine that
//! others use too, the clock on the wall would flatter the mix.

use crate::{Result, median, process::thread_time};
use sphinx_packet::SphinxPacket;
use std::hint::black_box;
use veilpost_packet::{
    primitives::Secret32,
    sphinx::{Packet, SphinxSecret, Unwrapped, unwrap},
};
use x25519_dalek::StaticSecret;

/// Packets that are timed together.
const GROUP: usize = 50;

/// Microseconds that one bare unwrap takes: decode, process, encode, on this thread. Median over groups of packets.
///
/// # Errors
/// If a packet is not for this key.
pub fn bare_us(secret: &Secret32, packets: &[Packet]) -> Result<f64> {
    let secret = StaticSecret::from(*secret.expose());
    let mut times = Vec::new();
    for group in packets.chunks(GROUP) {
        let started = thread_time();
        for packet in group {
            let processed = SphinxPacket::from_bytes(packet.as_bytes()).and_then(|packet| packet.process(&secret));
            black_box(processed.map_err(|_| "a packet does not unwrap")?);
        }
        times.push((thread_time() - started).as_secs_f64() * 1e6 / group.len() as f64);
    }
    Ok(median(&times))
}

/// As [`bare_us`], on two threads at once: what a busy neighbour core costs, which a saturated mix always has.
///
/// # Errors
/// As [`bare_us`].
pub fn bare_beside_another_us(secret: &Secret32, packets: &[Packet]) -> Result<f64> {
    let (one, other) = packets.split_at(packets.len() / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| bare_us(secret, other));
        let one = bare_us(secret, one)?;
        let other = other.join().map_err(|_| "a thread ended by a fault of its own")??;
        Ok((one + other) / 2.0)
    })
}

/// Microseconds of our own unwrap with its checks, and what it yields.
///
/// # Errors
/// As [`bare_us`].
pub fn ours_us(secret: &Secret32, packets: &[Packet]) -> Result<(f64, Vec<Unwrapped>)> {
    let secret = SphinxSecret::from_seed(*secret.expose());
    let (mut times, mut all) = (Vec::new(), Vec::with_capacity(packets.len()));
    for group in packets.chunks(GROUP) {
        let started = thread_time();
        for packet in group {
            all.push(unwrap(&secret, packet)?);
        }
        times.push((thread_time() - started).as_secs_f64() * 1e6 / group.len() as f64);
    }
    Ok((median(&times), all))
}
