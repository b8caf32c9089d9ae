//! `/echo/1.0.0` of js-libp2p: whatever comes goes back, until the other side closes its half.
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt, future::join};
use libp2p::{PeerId, Stream, StreamProtocol};
use libp2p_stream::Control;
use wasm_bindgen::JsError;
use wasm_bindgen_futures::spawn_local;

pub const PROTOCOL: StreamProtocol = StreamProtocol::new("/echo/1.0.0");

/// Answers whoever asks.
pub fn serve(mut streams: Control) -> Result<(), JsError> {
    let mut incoming = streams.accept(PROTOCOL)?;
    spawn_local(async move {
        while let Some((_, stream)) = incoming.next().await {
            // One that breaks is noticed by the side that waits for it.
            spawn_local(async move { drop(answer(stream).await) });
        }
    });
    Ok(())
}

async fn answer(mut stream: Stream) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return stream.close().await,
            length => stream.write_all(&buffer[..length]).await?,
        }
    }
}

/// Sends `bytes`, closes our half, and reads until the other side has closed its own.
pub async fn through(mut streams: Control, peer: PeerId, bytes: usize) -> Result<(), JsError> {
    let stream = streams.open_stream(peer, PROTOCOL).await?;
    let sent: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
    let (mut reader, mut writer) = stream.split();
    let writing = async {
        writer.write_all(&sent).await?;
        writer.close().await
    };
    let mut received = Vec::with_capacity(bytes);
    let (written, read) = join(writing, reader.read_to_end(&mut received)).await;
    written?;
    read?;
    if received != sent {
        return Err(JsError::new(&format!("{} bytes came back of {bytes}, or others", received.len())));
    }
    Ok(())
}
