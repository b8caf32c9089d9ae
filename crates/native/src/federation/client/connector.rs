//! New connections for the pool: the authority of a request's URI is the name a server is reached by.
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use ruma::ServerName;

use crate::federation::{
    delegation::{host_of, targets},
    dialer::{DialError, Dialer, Stream},
};

#[derive(Clone)]
pub struct Connector {
    dialer: Arc<Dialer>,
    /// Spreads connections over services that are as good as each other.
    dials: Arc<AtomicU32>,
}

impl Connector {
    pub fn new(dialer: Arc<Dialer>) -> Self {
        Self { dialer, dials: Arc::default() }
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = Encrypted;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Encrypted, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (dialer, order) = (self.dialer.clone(), self.dials.fetch_add(1, Ordering::Relaxed));
        Box::pin(async move {
            let authority = uri.authority().map_or("", |authority| authority.as_str());
            let no_name = |_| DialError::NoName { host: authority.to_owned() };
            let name = ServerName::parse(authority).map_err(no_name)?;
            let host = host_of(&name);
            let reason = "it is said to be nowhere".to_owned();
            let mut failure = DialError::NotFound { host: host.to_owned(), reason };
            for target in targets(&dialer, &name, order).await {
                match dialer.dial(&target, host).await {
                    Ok(stream) => return Ok(Encrypted(TokioIo::new(stream))),
                    Err(error) => failure = error,
                }
            }
            Err(failure)
        })
    }
}

/// A connection of the pool.
pub struct Encrypted(TokioIo<Stream>);

impl Connection for Encrypted {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Encrypted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }
}
