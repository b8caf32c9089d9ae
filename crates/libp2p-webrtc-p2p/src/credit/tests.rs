//! Two credited ends on a stream that takes everything at once, as a data channel does.
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, executor::block_on, future::join, task::noop_waker_ref};
use proptest::prelude::*;

use super::*;
use crate::two_ways::{Half, Way};

type Ways = (Arc<Mutex<Way>>, Arc<Mutex<Way>>);

fn pair() -> (Credited<Half>, Credited<Half>, Ways) {
    let (there, back) = (Arc::<Mutex<Way>>::default(), Arc::<Mutex<Way>>::default());
    let one = Credited::new(Half { to: there.clone(), from: back.clone() });
    let two = Credited::new(Half { to: back.clone(), from: there.clone() });
    (one, two, (there, back))
}

fn some_bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

#[test]
fn a_reader_that_pauses_stops_the_writer_and_loses_nothing() {
    let (mut writer, mut reader, (there, _)) = pair();
    let bytes = some_bytes(2_000_000);
    let mut written = 0;
    let mut context = Context::from_waker(noop_waker_ref());
    while let Poll::Ready(length) = Pin::new(&mut writer).poll_write(&mut context, &bytes[written..]) {
        written += length.unwrap();
    }
    assert_eq!(written, WINDOW_BYTES, "the window is used and no more");
    assert!(Pin::new(&mut reader).poll_read(&mut context, &mut [0]).is_ready());
    assert!(reader.unread_bytes() <= WINDOW_BYTES && there.lock().unwrap().most <= 2 * WINDOW_BYTES);
    let mut read = vec![0];
    block_on(join(
        async {
            writer.write_all(&bytes[written..]).await.unwrap();
            writer.close().await.unwrap();
        },
        reader.read_to_end(&mut read).map(Result::unwrap),
    ));
    assert!(read == bytes);
}

#[test]
fn a_long_answer_can_be_read_after_the_question_was_closed() {
    let (mut asking, mut answering, (there, back)) = pair();
    let answer = some_bytes(3 * WINDOW_BYTES);
    block_on(join(
        async {
            asking.write_all(b"question").await.unwrap();
            asking.close().await.unwrap();
            let mut read = Vec::new();
            asking.read_to_end(&mut read).await.unwrap();
            assert!(read == answer);
        },
        async {
            let mut question = String::new();
            answering.read_to_string(&mut question).await.unwrap();
            assert_eq!(question, "question");
            answering.write_all(&answer).await.unwrap();
            answering.close().await.unwrap();
        },
    ));
    drop((asking, answering));
    assert!(there.lock().unwrap().closed && back.lock().unwrap().closed, "nothing is reset");
}

#[test]
fn who_breaks_the_rules_is_told_off() {
    let window = (WINDOW_BYTES as u32).to_be_bytes();
    let too_much = [vec![DATA, 0xff, 0xff], vec![0; 0xffff]].concat().repeat(9);
    for (bytes, why) in [
        (&[7][..], "neither data"),
        (&[&[GRANT][..], &window].concat(), "more than a window"),
        (&[END, END], "after the end"),
        (&[END, DATA, 0, 1, 0], "after the end"),
        (&too_much, "more than it was granted"),
    ] {
        let (_, mut reader, (there, _)) = pair();
        there.lock().unwrap().bytes.extend(bytes);
        let error = block_on(reader.read_to_end(&mut Vec::new())).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    let (_, mut reader, (there, _)) = pair();
    there.lock().unwrap().bytes.extend([DATA, 0, 9, 1]);
    there.lock().unwrap().closed = true;
    let error = block_on(reader.read_to_end(&mut Vec::new())).unwrap_err();
    assert!(error.to_string().contains("before the peer had finished"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn both_directions_carry_everything_at_once(
        there in 0_usize..1_000_000,
        back in 0_usize..1_000_000,
        piece in 1_usize..100_000,
    ) {
        let (one, two, _) = pair();
        let (there, back) = (some_bytes(there), some_bytes(back));
        let talk = |end: Credited<Half>, say: Vec<u8>, hear: Vec<u8>| async move {
            let (mut reader, mut writer) = end.split();
            let mut heard = vec![0; hear.len()];
            let reading = async { reader.read_exact(&mut heard).await };
            let writing = async {
                for bytes in say.chunks(piece) {
                    writer.write_all(bytes).await?;
                }
                writer.close().await
            };
            let (read, wrote) = join(reading, writing).await;
            read.is_ok() && wrote.is_ok() && heard == hear
        };
        let (one, two) = block_on(join(talk(one, there.clone(), back.clone()), talk(two, back, there)));
        prop_assert!(one && two);
    }
}
