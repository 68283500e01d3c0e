from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from appliance.connection import (
    CLOSE_S,
    CORK,
    LINGER_BYTES,
    LINGER_S,
    READ_AHEAD,
    TURN,
    WAKE,
    WRITE_PROGRESS,
    WRITE_STALL_S,
    ConnectionLostError,
    IdleTimeoutError,
)
from appliance.errors import ProtocolError
from tests.appliance.fake_wire import LineMachine, settle, wired


async def test_events_come_in_order_and_what_was_written_leaves_in_one_piece() -> None:
    connection, transport, _ = wired()
    connection.data_received(b"one\r\ntw")
    assert await connection.next_event(10) == b"one"
    connection.write(b"250 ")
    connection.write(b"ok\r\n")
    assert transport.written == []
    waiting = asyncio.create_task(connection.next_event(10))
    await settle()
    assert transport.written == [b"250 ok\r\n"]
    connection.data_received(b"o\r\n")
    assert await waiting == b"two"


async def test_more_than_the_cork_holds_leaves_at_once() -> None:
    connection, transport, _ = wired()
    connection.write(b"x" * CORK)
    assert transport.written == []
    connection.write(b"y")
    assert b"".join(transport.written) == b"x" * CORK + b"y"


async def test_pieces_follow_what_was_written_before() -> None:
    connection, transport, _ = wired()
    connection.write(b"first ")
    connection.write_pieces([b"second ", memoryview(b"third ")])
    assert b"".join(transport.written) == b"first second third "
    connection.write(b"fourth")
    await connection.drain()
    assert b"".join(transport.written) == b"first second third fourth"
    connection.connection_lost(None)
    connection.write_pieces([b"nobody", b"hears"])
    assert b"".join(transport.written) == b"first second third fourth"


async def test_both_ends_are_known_and_mapped_addresses_are_ipv4() -> None:
    connection, transport, _ = wired()
    assert (connection.peer_ip, connection.peer_port) == ("192.0.2.7", 50000)
    assert (connection.local_ip, connection.local_port) == ("192.0.2.1", 25)
    transport._extra["peername"] = ("::ffff:198.51.100.3", 1, 0, 0)  # type: ignore[attr-defined]
    transport._extra["sockname"] = ""  # type: ignore[attr-defined]
    connection.connection_made(transport)
    assert (connection.peer_ip, connection.local_ip) == ("198.51.100.3", "")


async def test_ids_of_connections_differ() -> None:
    assert wired()[0].id != wired()[0].id


async def test_wake_reaches_a_waiting_session_and_one_that_works() -> None:
    connection, _, _ = wired()
    waiting = asyncio.create_task(connection.next_event(10))
    await settle()
    connection.wake()
    assert await waiting is WAKE
    connection.wake()
    connection.wake()
    connection.data_received(b"first\n")
    assert await connection.next_event(10) == b"first"  # what the peer sent comes first
    assert await connection.next_event(10) is WAKE
    waiting = asyncio.create_task(connection.next_event(10))
    await settle()
    assert not waiting.done()
    waiting.cancel()


async def test_a_wait_ends_at_its_time() -> None:
    connection, _, loop = wired()
    waiting = asyncio.create_task(connection.next_event(60))
    await settle()
    await loop.advance(59)
    assert not waiting.done()
    await loop.advance(1.1)
    with pytest.raises(IdleTimeoutError):
        await waiting


async def test_octets_that_make_no_event_gain_no_time() -> None:
    connection, _, loop = wired()
    waiting = asyncio.create_task(connection.next_event(60))
    await settle()
    for _ in range(6):
        await loop.advance(9.9)
        connection.data_received(b"x")
        await settle()
    assert not waiting.done()
    await loop.advance(1)
    assert waiting.done()
    with pytest.raises(IdleTimeoutError):
        await waiting


async def test_one_timer_serves_many_waits() -> None:
    connection, _, loop = wired()
    for second in range(50):
        waiting = asyncio.create_task(connection.next_event(300))
        await settle()
        loop.now = 1000.0 + second
        connection.data_received(b"noop\n")
        await waiting
    assert loop.armed == 1
    waiting = asyncio.create_task(connection.next_event(300))
    await settle()
    await loop.advance(299)  # the old timer fires, finds that the deadline has moved, and is set again
    assert not waiting.done()
    assert loop.armed == 2
    await loop.advance(2)
    with pytest.raises(IdleTimeoutError):
        await waiting


async def test_a_shorter_wait_moves_the_timer_forward() -> None:
    connection, _, loop = wired()
    waiting = asyncio.create_task(connection.next_event(1800))
    await settle()
    connection.data_received(b"x\n")
    await waiting
    waiting = asyncio.create_task(connection.next_event(5))
    await settle()
    await loop.advance(5.1)
    with pytest.raises(IdleTimeoutError):
        await waiting


async def test_a_timer_that_fires_while_the_session_works_ends_nothing() -> None:
    connection, _, loop = wired()
    waiting = asyncio.create_task(connection.next_event(5))
    await settle()
    connection.data_received(b"x\n")
    await waiting
    await loop.advance(100)
    waiting = asyncio.create_task(connection.next_event(5))
    await settle()
    assert not waiting.done()
    await loop.advance(5.1)
    with pytest.raises(IdleTimeoutError):
        await waiting


async def test_reading_stops_while_an_answer_is_owed() -> None:
    connection, transport, _ = wired()
    waiting = asyncio.create_task(connection.next_event(10))
    await settle()
    connection.data_received(b"one\n")
    assert await waiting == b"one"
    assert transport.reading
    connection.data_received(b"two\n")  # the session is still busy with "one"
    assert not transport.reading
    assert await connection.next_event(10) == b"two"
    assert not transport.reading
    waiting = asyncio.create_task(connection.next_event(10))
    await settle()
    assert transport.reading
    waiting.cancel()


async def test_reading_stops_when_the_machine_holds_too_much() -> None:
    connection, transport, _ = wired()
    waiting = asyncio.create_task(connection.next_event(10))
    await settle()
    for _ in range(READ_AHEAD // 65536):
        connection.data_received(b"a" * 65535 + b"\n")
    assert transport.reading
    connection.data_received(b"a\n")
    assert not transport.reading
    await waiting


async def test_others_get_their_turn_while_one_peer_pipelines() -> None:
    connection, transport, _ = wired()
    connection.data_received(b"x\n" * (3 * TURN))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for _ in range(3 * TURN):
        await connection.next_event(10)
        connection.write(b"y")
    assert turns >= 3
    assert transport.written  # answers left meanwhile
    task.cancel()


async def test_a_machines_refusal_reaches_the_session() -> None:
    connection, _, _ = wired()
    connection.data_received(b"BAD\r\n")
    with pytest.raises(ProtocolError) as caught:
        await connection.next_event(10)
    assert caught.value.reply == b"500 bad\r\n"


async def test_a_machine_that_refuses_in_receive_is_heard_too() -> None:
    class Strict(LineMachine):
        def receive(self, data: bytes) -> None:
            raise ProtocolError("no NUL")

    connection, _, _ = wired(Strict())
    connection.data_received(b"\0")
    with pytest.raises(ProtocolError, match="no NUL"):
        await connection.next_event(10)


async def test_a_half_closed_peer_still_gets_its_answers() -> None:
    connection, transport, _ = wired()
    connection.data_received(b"one\ntwo\n")
    assert connection.eof_received() is True
    for expected in (b"one", b"two"):
        assert await connection.next_event(10) == expected
        connection.write(b"ok " + expected + b"\n")
    with pytest.raises(ConnectionLostError):
        await connection.next_event(10)
    assert b"".join(transport.written) == b"ok one\nok two\n"
    assert not transport.closed


async def test_losing_the_peer_ends_a_wait_and_a_drain() -> None:
    connection, _, _ = wired()
    waiting = asyncio.create_task(connection.next_event(10))
    await settle()
    connection.connection_lost(None)
    with pytest.raises(ConnectionLostError):
        await waiting
    connection, _, _ = wired()
    connection.pause_writing()
    draining = asyncio.create_task(connection.drain())
    await settle()
    connection.connection_lost(ConnectionResetError())
    with pytest.raises(ConnectionLostError):
        await draining
    connection.write(b"into the void")
    with pytest.raises(ConnectionLostError):
        await connection.drain()


async def test_drain_waits_for_the_peer_to_read() -> None:
    connection, transport, _ = wired()
    connection.write(b"x")
    await connection.drain()
    assert transport.written == [b"x"]
    connection.pause_writing()
    draining = asyncio.create_task(connection.drain())
    await settle()
    assert not draining.done()
    connection.data_received(b"y\n")  # input is no reason to go on
    await settle()
    assert not draining.done()
    connection.resume_writing()
    await draining


async def test_a_peer_that_pipelines_but_does_not_read_is_not_read_from() -> None:
    connection, transport, _ = wired()
    connection.pause_writing()
    waiting = asyncio.create_task(connection.next_event(10))
    await settle()
    connection.data_received(b"x\n")
    await settle()
    assert not waiting.done()
    assert not transport.reading
    connection.resume_writing()
    assert await waiting == b"x"


async def test_commands_that_came_already_wait_too_while_the_peer_does_not_read() -> None:
    connection, _, _ = wired()
    connection.data_received(b"one\ntwo\n")
    assert await connection.next_event(10) == b"one"
    connection.pause_writing()  # the answer to "one" was large
    waiting = asyncio.create_task(connection.next_event(10))
    await settle()
    assert not waiting.done()
    connection.resume_writing()
    assert await waiting == b"two"


async def test_a_peer_that_reads_nothing_is_dropped() -> None:
    connection, transport, loop = wired()
    transport.buffered = 100_000
    connection.pause_writing()
    draining = asyncio.create_task(connection.drain())
    await settle()
    await loop.advance(WRITE_STALL_S - 1)
    assert not transport.aborted
    await loop.advance(1.1)
    assert transport.aborted
    connection.connection_lost(None)
    with pytest.raises(ConnectionLostError):
        await draining


async def test_a_slow_reader_is_kept_while_it_reads() -> None:
    connection, transport, loop = wired()
    transport.buffered = 100_000
    connection.pause_writing()
    draining = asyncio.create_task(connection.drain())
    await settle()
    for _ in range(5):
        transport.buffered -= WRITE_PROGRESS
        await loop.advance(WRITE_STALL_S)
        assert not transport.aborted
    transport.buffered -= WRITE_PROGRESS - 1
    await loop.advance(WRITE_STALL_S)
    assert transport.aborted
    draining.cancel()


async def test_bytes_in_the_kernel_count_as_unread() -> None:
    ours, theirs = socket.socketpair()
    connection, transport, _ = wired()
    transport._extra["socket"] = ours  # type: ignore[attr-defined]
    transport.buffered = 10
    ours.send(b"x" * 1000)
    assert connection._unsent() >= 1010
    theirs.recv(1000)
    assert connection._unsent() == 10
    ours.close()
    theirs.close()
    assert connection._unsent() == 10


async def test_close_sends_what_was_written_first() -> None:
    connection, transport, _ = wired()
    waiting = asyncio.create_task(connection.next_event(10))
    await settle()
    connection.data_received(b"quit\n")
    await waiting
    waiting = asyncio.create_task(connection.next_event(10))
    await settle()
    waiting.cancel()
    connection.write(b"bye\n")
    closing = asyncio.create_task(connection.close())
    await settle()
    assert transport.written == [b"bye\n"]
    assert transport.closed
    assert not closing.done()
    connection.connection_lost(None)
    await closing
    await connection.close()


async def test_closing_with_unread_bytes_lets_the_last_words_arrive() -> None:
    connection, transport, loop = wired()
    connection.data_received(b"BAD\nmore")
    with pytest.raises(ProtocolError):
        await connection.next_event(1)
    connection.write(b"500 bad\n")
    closing = asyncio.create_task(connection.close())
    await settle()
    assert transport.ended
    assert transport.reading
    assert not transport.closed
    connection.data_received(b"still talking")
    connection.eof_received()
    assert transport.closed
    connection.connection_lost(None)
    await closing
    assert loop.timers == [] or all(timer.cancelled for timer in loop.timers)


async def test_lingering_has_an_end_in_time_and_in_bytes() -> None:
    for talkative in (False, True):
        connection, transport, loop = wired()
        connection.data_received(b"x")  # while the session is busy, so that reading is paused
        closing = asyncio.create_task(connection.close())
        await settle()
        if talkative:
            for _ in range(LINGER_BYTES // 65536 + 1):
                assert not transport.aborted
                connection.data_received(b"x" * 65536)
        else:
            await loop.advance(LINGER_S + 0.1)
        assert transport.aborted
        connection.connection_lost(None)
        await closing


async def test_a_close_that_the_peer_holds_up_is_cut_off() -> None:
    connection, transport, loop = wired()
    closing = asyncio.create_task(connection.close())
    await settle()
    await loop.advance(CLOSE_S + 0.1)
    assert transport.aborted
    connection.connection_lost(None)
    await closing


async def test_a_cancelled_close_aborts() -> None:
    connection, transport, _ = wired()
    closing = asyncio.create_task(connection.close())
    await settle()
    closing.cancel()
    await settle()
    assert transport.aborted


async def test_start_tls_refuses_what_came_in_clear() -> None:
    connection, _, _ = wired()
    connection.data_received(b"STARTTLS\r\nMAIL FROM:<evil@example.org>\r\n")
    assert await connection.next_event(1) == b"STARTTLS"
    with pytest.raises(ProtocolError):
        await connection.start_tls(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    assert connection.tls is None
