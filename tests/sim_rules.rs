//! The simulator's own promises: a shard that breaks a rule of `Driver` is stopped on the spot.
//!
//! Each test breaks one rule. Without them a green simulation could mean that nothing is looked at.

use std::net::{Ipv4Addr, SocketAddr};

use megaconn::base::errno::Errno;
use megaconn::drivers::sim::{Faults, SimConfig, SimDriver};
use megaconn::engine::driver::{Completion, Dial, Driver, Listen, ShutdownMode};
use megaconn::engine::slot::BufferId;
use megaconn::engine::token::{Generation, Operation, SlotId, Token};
use megaconn::engine::worker::Turn;

fn world() -> SimDriver {
    let mut driver = SimDriver::new(SimConfig {
        seed: 1,
        listeners: 1,
        buffers: 2,
        buffer_bytes: 64,
        message_bytes: 40,
        faults: Faults::default(),
        mutation: None,
    });
    driver.open_segment(0, 4).expect("nothing fails in this world");
    driver
}

fn token(operation: Operation) -> Token {
    Token::new(operation, Generation::new(0), SlotId::new(0, 1))
}

/// A world with a connection in slot 1.
fn connected() -> SimDriver {
    let mut driver = world();
    let source = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 40_000);
    driver.connect(token(Operation::Connect), source, 0).expect("nothing fails in this world");
    let answer = answer(&mut driver);
    assert_eq!(answer, Completion { token: token(Operation::Connect), result: Ok(0) });
    driver
}

/// Submits, lets time pass, and reaps the next completion.
fn answer(driver: &mut SimDriver) -> Completion {
    let mut batch = Vec::with_capacity(1);
    driver.submit();
    for _ in 0..100_000 {
        driver.reap(&mut batch);
        if let Some(completion) = batch.pop() {
            return completion;
        }
        driver.pass(Turn::Busy);
    }
    panic!("nothing completed");
}

#[test]
fn a_life_in_order_is_allowed() {
    let mut driver = connected();
    let buffer = driver.take_buffer().expect("the pool is full");
    driver.buffer(buffer)[..40].fill(7);
    driver.poll(token(Operation::PollReadable));
    driver.send(token(Operation::Send), buffer, 0..40);
    let first = answer(&mut driver);
    assert_eq!(first.token.operation(), Operation::Send);
    assert!(first.result.expect("there is room") > 0);
    let second = answer(&mut driver);
    assert_eq!(second.token.operation(), Operation::PollReadable, "the peer answers");
    driver.recv(token(Operation::Recv), buffer, 0);
    let bytes = answer(&mut driver).result.expect("the poll promised bytes");
    assert!(driver.buffer(buffer)[..bytes as usize].iter().all(|&b| b == 7));
    driver.give_buffer(buffer);
    driver.close(token(Operation::Close));
    assert_eq!(answer(&mut driver).result, Ok(0));
    assert_eq!((driver.counts().opened, driver.counts().closed), (1, 1));
    assert_eq!((driver.buffers_used(), driver.in_flight()), (0, 0));
    driver.close_segment(0);
}

#[test]
fn a_cancelled_poll_completes_once_and_so_does_the_cancel() {
    let mut driver = connected();
    driver.poll(token(Operation::PollReadable));
    driver.cancel(token(Operation::PollReadable));
    let mut answers = [answer(&mut driver), answer(&mut driver)];
    answers.sort_by_key(|answer| answer.token.operation() as u8);
    let expected = [
        Completion { token: token(Operation::PollReadable), result: Err(Errno::ECANCELED) },
        Completion { token: token(Operation::Cancel), result: Ok(0) },
    ];
    assert_eq!(answers, expected);
    assert_eq!(driver.in_flight(), 0);
}

#[test]
#[should_panic(expected = "of the same side is in flight still")]
fn two_reads_at_once() {
    let mut driver = connected();
    let buffer = driver.take_buffer().expect("the pool is full");
    driver.poll(token(Operation::PollReadable));
    driver.recv(token(Operation::Recv), buffer, 0);
}

#[test]
#[should_panic(expected = "of the same side is in flight still")]
fn two_writes_at_once() {
    let mut driver = connected();
    driver.poll(token(Operation::PollWritable));
    driver.shutdown(token(Operation::Shutdown), ShutdownMode::Both);
}

#[test]
#[should_panic(expected = "without a descriptor")]
fn a_poll_of_an_empty_slot() {
    world().poll(token(Operation::PollReadable));
}

#[test]
#[should_panic(expected = "before there is a connection")]
fn a_poll_before_the_connect_is_answered() {
    let mut driver = world();
    let source = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 40_000);
    driver.connect(token(Operation::Connect), source, 0).expect("nothing fails in this world");
    driver.poll(token(Operation::PollReadable));
}

#[test]
#[should_panic(expected = "closed before the join")]
fn a_close_before_the_join() {
    let mut driver = connected();
    driver.poll(token(Operation::PollReadable));
    driver.close(token(Operation::Close));
}

#[test]
#[should_panic(expected = "closed without a descriptor")]
fn a_second_close() {
    let mut driver = connected();
    driver.close(token(Operation::Close));
    answer(&mut driver);
    driver.close(token(Operation::Close));
}

#[test]
#[should_panic(expected = "closed before the join")]
fn a_second_close_while_the_first_is_in_flight() {
    let mut driver = connected();
    driver.close(token(Operation::Close));
    driver.close(token(Operation::Close));
}

#[test]
#[should_panic(expected = "the old one's generation")]
fn a_new_life_under_the_old_generation() {
    let mut driver = connected();
    driver.close(token(Operation::Close));
    answer(&mut driver);
    driver.accept(token(Operation::Accept), 0);
}

#[test]
#[should_panic(expected = "the generation of another life")]
fn an_operation_under_another_generation() {
    let slot = SlotId::new(0, 1);
    connected().poll(Token::new(Operation::PollReadable, Generation::new(1), slot));
}

#[test]
#[should_panic(expected = "beyond its segment's last slot")]
fn a_slot_beyond_its_segment() {
    let slot = SlotId::new(0, 4);
    world().accept(Token::new(Operation::Accept, Generation::new(0), slot), 0);
}

#[test]
#[should_panic(expected = "a segment that is not open")]
fn a_segment_that_is_not_there() {
    let slot = SlotId::new(1, 0);
    world().accept(Token::new(Operation::Accept, Generation::new(0), slot), 0);
}

#[test]
#[should_panic(expected = "with a descriptor in it")]
fn a_segment_closed_with_a_connection() {
    connected().close_segment(0);
}

#[test]
#[should_panic(expected = "with work in flight")]
fn a_segment_closed_with_an_accept_in_flight() {
    let mut driver = world();
    driver.accept(token(Operation::Accept), 0);
    driver.submit();
    driver.close_segment(0);
}

#[test]
#[should_panic(expected = "is not the endpoint's to lend")]
fn a_buffer_for_two_operations() {
    let mut driver = connected();
    let buffer = driver.take_buffer().expect("the pool is full");
    driver.send(token(Operation::Send), buffer, 0..8);
    driver.recv(token(Operation::Recv), buffer, 8);
}

#[test]
#[should_panic(expected = "its holder is not us")]
fn a_buffer_given_back_in_use() {
    let mut driver = connected();
    let buffer = driver.take_buffer().expect("the pool is full");
    driver.send(token(Operation::Send), buffer, 0..8);
    driver.give_buffer(buffer);
}

#[test]
#[should_panic(expected = "its holder is not us")]
fn a_buffer_given_back_twice() {
    let mut driver = world();
    let buffer = driver.take_buffer().expect("the pool is full");
    driver.give_buffer(buffer);
    driver.give_buffer(buffer);
}

#[test]
#[should_panic(expected = "while it is not the endpoint's")]
fn bytes_touched_in_use() {
    let mut driver = connected();
    let buffer = driver.take_buffer().expect("the pool is full");
    driver.send(token(Operation::Send), buffer, 0..8);
    driver.buffer(buffer)[..8].fill(0);
}

#[test]
#[should_panic(expected = "is in no pool")]
fn a_buffer_of_no_pool() {
    world().give_buffer(BufferId::NONE);
}

#[test]
#[should_panic(expected = "is polled twice")]
fn a_listener_polled_twice() {
    let mut driver = world();
    let token = Token::new(Operation::PollListener, Generation::new(0), SlotId::new(0, 0));
    driver.poll_listener(token, 0);
    driver.submit();
    driver.poll_listener(token, 0);
}

#[test]
#[should_panic(expected = "looks like an end")]
fn a_receive_into_no_space() {
    let mut driver = connected();
    let buffer = driver.take_buffer().expect("the pool is full");
    driver.recv(token(Operation::Recv), buffer, 64);
}

#[test]
#[should_panic(expected = "sleeps while there is work")]
fn a_sleep_before_what_was_asked_is_submitted() {
    let mut driver = connected();
    driver.poll(token(Operation::PollReadable));
    driver.pass(Turn::Idle(None));
}

#[test]
#[should_panic(expected = "sleeps while there is work")]
fn a_sleep_before_what_has_completed_is_reaped() {
    let mut driver = connected();
    driver.close(token(Operation::Close));
    driver.submit();
    while driver.prepare_to_sleep(Turn::Idle(None)) != Turn::Busy {
        driver.pass(Turn::Busy);
    }
    driver.pass(Turn::Idle(None));
}
