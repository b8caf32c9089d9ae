//! How fast a direct connection is: what `npm run bench` has a peer measure, in milliseconds of its own clock.
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt, future::join};
use libp2p::{PeerId, Stream, StreamProtocol};
use libp2p_stream::Control;
use libp2p_webrtc_p2p::credit::{Credited, protocol_name};
use wasm_bindgen::JsError;
use wasm_bindgen_futures::spawn_local;
use web_time::Instant;

use super::echo;

/// Takes what comes, and says so with one byte when it has all.
const SINK: &str = "/sink/1.0.0";

const CHUNK_BYTES: usize = 64 * 1024;

/// Takes whatever anybody sends, with credit or without.
pub fn serve(mut streams: Control) -> Result<(), JsError> {
    let mut plain = streams.accept(StreamProtocol::new(SINK))?;
    let mut credited = streams.accept(credited_sink()?)?;
    spawn_local(async move {
        let plain = async {
            while let Some((_, stream)) = plain.next().await {
                // One that breaks is noticed by the side that waits for it.
                spawn_local(async move { drop(take(stream).await) });
            }
        };
        let credited = async {
            while let Some((_, stream)) = credited.next().await {
                spawn_local(async move { drop(take(Credited::new(stream)).await) });
            }
        };
        join(plain, credited).await;
    });
    Ok(())
}

fn credited_sink() -> Result<StreamProtocol, JsError> {
    Ok(StreamProtocol::try_from_owned(protocol_name(SINK))?)
}

async fn take(mut stream: impl futures::AsyncRead + futures::AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    while stream.read(&mut buffer).await? > 0 {}
    stream.write_all(&[1]).await?;
    stream.close().await
}

/// The mean of `each` round trips in a row, `samples` times: one alone is too short for a browser's clock.
pub async fn round_trips(
    mut streams: Control,
    peer: PeerId,
    bytes: usize,
    samples: usize,
    each: usize,
) -> Result<Vec<f64>, JsError> {
    let mut stream = streams.open_stream(peer, echo::PROTOCOL).await?;
    let mut took = Vec::with_capacity(samples);
    for _ in 0..samples {
        let started = Instant::now();
        for _ in 0..each {
            there_and_back(&mut stream, bytes).await?;
        }
        took.push(ms_since(started) / each as f64);
    }
    stream.close().await?;
    Ok(took)
}

/// Until a stream is opened, and until its first byte has come back: two numbers each.
pub async fn openings(mut streams: Control, peer: PeerId, count: usize) -> Result<Vec<f64>, JsError> {
    let mut took = Vec::with_capacity(2 * count);
    for _ in 0..count {
        let started = Instant::now();
        let mut stream = streams.open_stream(peer, echo::PROTOCOL).await?;
        took.push(ms_since(started));
        there_and_back(&mut stream, 1).await?;
        took.push(ms_since(started));
        stream.close().await?;
        // Its end is no part of the next one's beginning.
        stream.read_to_end(&mut Vec::new()).await?;
    }
    Ok(took)
}

/// From the first byte until the other side has said that it has all.
pub async fn bulk(mut streams: Control, peer: PeerId, bytes: usize, with_credit: bool) -> Result<f64, JsError> {
    if with_credit {
        let stream = streams.open_stream(peer, credited_sink()?).await?;
        return send(Credited::new(stream), bytes).await;
    }
    send(streams.open_stream(peer, StreamProtocol::new(SINK)).await?, bytes).await
}

async fn send(mut stream: impl futures::AsyncRead + futures::AsyncWrite + Unpin, bytes: usize) -> Result<f64, JsError> {
    let chunk = vec![7; CHUNK_BYTES];
    let started = Instant::now();
    let mut left = bytes;
    while left > 0 {
        let length = left.min(chunk.len());
        stream.write_all(&chunk[..length]).await?;
        left -= length;
    }
    stream.close().await?;
    stream.read_exact(&mut [0]).await?;
    Ok(ms_since(started))
}

async fn there_and_back(stream: &mut Stream, bytes: usize) -> std::io::Result<()> {
    let mut buffer = vec![7; bytes];
    stream.write_all(&buffer).await?;
    stream.flush().await?;
    stream.read_exact(&mut buffer).await
}

fn ms_since(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1000.0
}
