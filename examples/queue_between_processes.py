"""A queue between processes: a producer, a consumer, and an end that both agree on."""

import multiprocessing
import zlib

import underpass

CHUNK = 4096


def produce(queue: underpass.Queue, chunks: int) -> None:
    """Write each message in place; while the block runs, getters know that more may come."""
    with queue.putting():
        for number in range(chunks):
            with queue.loan(CHUNK) as buffer:  # shared memory: leaving the block sends it
                memoryview(buffer)[:] = bytes([number % 251]) * CHUNK


def main() -> None:
    """Consume here what another process produces."""
    queue = underpass.Queue(capacity=16, message_size=CHUNK)
    producer = multiprocessing.get_context("spawn").Process(target=produce, args=(queue, 1000))
    producer.start()
    total = checksum = 0
    for message in queue:  # ends when the last putter has left and the queue is empty; if it dies: PeerDiedError
        total += len(message)
        checksum = zlib.crc32(message, checksum)
    producer.join()
    print(f"{total:,} bytes")
    # -> 4,096,000 bytes
    expected = b"".join(bytes([number % 251]) * CHUNK for number in range(1000))
    print("the same" if checksum == zlib.crc32(expected) else "different")
    # -> the same


if __name__ == "__main__":
    main()
