"""Server-sent events: of one job and of all."""

import socket
import threading
from collections.abc import Callable

import httpx
import pytest

from tests.support.events import Event, read_events, reported_epochs, stream_events
from tests.support.fits import LONG, SEQUENTIAL, thermometer
from tests.support.server import Service, until

# Of the process that serves HTTP, for each listener.
LISTENER_BYTES = 200_000


def test_a_job_is_followed_to_its_end(service: Service) -> None:
    """Status, progress and metrics come as they change, in order, and at last the job as it ended."""
    job_id = service.queued(thermometer(SEQUENTIAL, epochs=2000))
    events = list(stream_events(service, f"/v1/jobs/{job_id}/events"))
    job = service.job(job_id)
    assert (events[-1].type, events[-1].data) == ("end", job)
    statuses = [event.data["status"] for event in events if event.type == "status"]
    assert statuses[-1] == "succeeded"
    assert statuses == sorted(set(statuses), key=["queued", "running", "succeeded"].index)
    told = reported_epochs(events)
    assert told == sorted(set(told))
    assert told[-1] == 2000
    history = service.history(job_id)
    for event in events:
        if event.type == "metrics":
            positions = [epoch - 1 for epoch in event.data["epochs"]]
            assert event.data["train_loss"] == [history["train_loss"][position] for position in positions]
    fractions = [event.data["fraction"] for event in events if event.type == "progress"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_what_was_missed_is_told_after_the_last_id(service: Service) -> None:
    """A listener that comes back with the last id it saw is told every epoch since then, and the end."""
    job_id = service.queued(thermometer(SEQUENTIAL, epochs=LONG))
    path = f"/v1/jobs/{job_id}/events"
    seen: list[Event] = []
    for event in stream_events(service, path):
        seen.append(event)
        if event.type == "metrics":
            break
    until(lambda: service.job(job_id)["progress"]["epoch"] > reported_epochs(seen)[-1])
    service.cancelled(job_id)
    missed = list(stream_events(service, path, seen[-1].id))
    assert missed[-1].type == "end"
    assert reported_epochs(missed)[0] == reported_epochs(seen)[-1] + 1
    assert reported_epochs(missed)[-1] == missed[-1].data["progress"]["epoch"]
    again = list(stream_events(service, path, missed[-2].id))  # the line broke before the end
    assert (reported_epochs(again), again[-1].type, again[-1].data) == ([], "end", service.job(job_id))
    assert [event.type for event in stream_events(service, path, "nonsense")][-1] == "end"


def test_who_has_seen_the_end_is_sent_away(service: Service) -> None:
    """204 after the id of the end: an EventSource that is answered so connects no more."""
    path = f"/v1/jobs/{service.succeeded(thermometer(epochs=1))['id']}/events"
    *_, end = stream_events(service, path)
    assert end.id is not None
    answer = service.client.get(path, headers={"Last-Event-ID": end.id})
    assert (answer.status_code, answer.content) == (httpx.codes.NO_CONTENT, b"")


def test_a_long_gap_is_thinned_out(service: Service) -> None:
    """An event never has more than 500 epochs, the first and the last included."""
    job_id = service.succeeded(thermometer(epochs=1200))["id"]
    told = reported_epochs(list(stream_events(service, f"/v1/jobs/{job_id}/events", "0.0")))
    assert (len(told), told[0], told[-1]) == (500, 1, 1200)


def test_an_unknown_job_has_no_events(service: Service) -> None:
    """404 with a problem, instead of a stream."""
    response = service.client.get("/v1/jobs/job_gone/events")
    assert (response.status_code, response.json()["type"]) == (404, "/problems/job-not-found")


def test_all_jobs_are_followed(service: Service) -> None:
    """One stream tells of each job that it was queued, ran and ended; after an id, what came since."""
    told: dict[str, list[str]] = {}
    ready, done = threading.Event(), threading.Event()
    ids: list[str] = []
    first: list[Event] = []

    def listen() -> None:
        url = f"{service.client.base_url}/v1/events"
        with httpx.stream("GET", url, timeout=60.0) as response:
            ready.set()
            for event in read_events(response.iter_lines()):
                first.append(event)
                told.setdefault(event.data["id"], []).append(event.type)
                if done.is_set() and all("end" in told.get(job_id, []) for job_id in ids):
                    return

    listener = threading.Thread(target=listen)
    listener.start()
    ready.wait()
    ids.extend(service.queued(thermometer(epochs=200)) for _ in range(3))
    done.set()
    for job_id in ids:
        service.ended(job_id)
    service.queued(thermometer(epochs=1))  # one more change wakes a listener that has all
    listener.join(60.0)
    assert not listener.is_alive()
    for job_id in ids:
        kinds = [kind for kind in told[job_id] if kind != "progress"]
        assert kinds[0] == "status"
        assert kinds[-1] == "end"
        assert kinds.count("end") == 1
    begin = next(event.id for event in first if event.data["id"] == ids[0] and event.id is not None)
    missing = set(ids)
    for event in stream_events(service, "/v1/events", begin):
        if event.type == "end":
            missing.discard(event.data["id"])
        if not missing:
            break


def test_streams_end_with_the_service(start_service: Callable[..., Service]) -> None:
    """SIGTERM ends the streams at once, so that the service can stop in good order."""
    service = start_service(workers=1, helpers=1)
    job_id = service.running(thermometer(epochs=LONG))
    began, ended = threading.Event(), threading.Event()

    def listen() -> None:
        for _ in stream_events(service, f"/v1/jobs/{job_id}/events"):
            began.set()
        ended.set()

    threading.Thread(target=listen).start()
    began.wait()
    service.stop()
    assert ended.wait(1.0)


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.exhaustive)])
def test_many_listeners_all_see_the_end(narrow_service: Service, count: int) -> None:
    """Many open streams of one job: each receives its end, and each costs a bounded amount of memory."""
    service = narrow_service
    job_id = service.running(thermometer(epochs=LONG))
    before = service.process.memory_info().rss
    request = f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    address = (service.client.base_url.host, service.client.base_url.port or 0)
    listeners = [socket.create_connection(address) for _ in range(count)]
    for listener in listeners:
        listener.sendall(request)
    received = [bytearray() for _ in listeners]

    def drain(index: int) -> bytearray:
        received[index] += listeners[index].recv(1 << 16)
        return received[index]

    for index in range(count):
        until(lambda index=index: b"event: status" in drain(index))
    grown = service.process.memory_info().rss - before
    service.cancelled(job_id)
    for index, listener in enumerate(listeners):
        while chunk := listener.recv(1 << 16):
            received[index] += chunk
        listener.close()
    assert all(body.count(b"event: end") == 1 for body in received)
    assert grown < count * LISTENER_BYTES, f"{grown / count:.0f} bytes a listener"
