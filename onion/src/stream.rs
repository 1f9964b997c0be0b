//! A byte stream of an onion service.

use std::{
    any::Any,
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

trait Bytes: AsyncRead + AsyncWrite + Send + Sync {}

impl<T: AsyncRead + AsyncWrite + Send + Sync> Bytes for T {}

/// A byte stream in both directions. Dropping it ends its circuit.
pub struct OnionStream {
    bytes: Pin<Box<dyn Bytes>>,
    /// Ends the circuit, or gives back the place of one.
    _circuit: Box<dyn Any + Send + Sync>,
}

#[cfg(feature = "tor")]
impl OnionStream {
    /// Around a stream, and what is to be dropped after it.
    pub(crate) fn new(
        bytes: impl AsyncRead + AsyncWrite + Send + Sync + 'static,
        circuit: impl Any + Send + Sync,
    ) -> Self {
        Self { bytes: Box::pin(bytes), _circuit: Box::new(circuit) }
    }
}

impl fmt::Debug for OnionStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnionStream(..)")
    }
}

impl AsyncRead for OnionStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.bytes.as_mut().poll_read(cx, buffer)
    }
}

impl AsyncWrite for OnionStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.bytes.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.bytes.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.bytes.as_mut().poll_shutdown(cx)
    }
}
