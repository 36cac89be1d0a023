"""Server-sent events of one job and of all jobs."""

import socket
import threading

import httpx
import pytest

from tests.support.events import Event, read_events, reported_epochs, stream_events
from tests.support.fits import LONG, SEQUENTIAL, thermometer
from tests.support.server import Service, until

# Memory of the process that serves HTTP, for each open stream.
LISTENER_BYTES = 200_000


def test_events_report_a_job_to_its_end(service: Service) -> None:
    """Events report status, progress and metrics in order and end with the final job."""
    job_id = service.queued(thermometer(SEQUENTIAL, epochs=2000))
    events = list(stream_events(service, f"/v1/jobs/{job_id}/events"))
    job = service.job(job_id)
    assert (events[-1].type, events[-1].data) == ("end", job)
    statuses = [event.data["status"] for event in events if event.type == "status"]
    assert statuses[-1] == "succeeded"
    assert statuses == sorted(set(statuses), key=["queued", "running", "succeeded"].index)
    reported = reported_epochs(events)
    assert reported == sorted(set(reported))
    assert reported[-1] == 2000
    history = service.history(job_id)
    for event in events:
        if event.type == "metrics":
            positions = [epoch - 1 for epoch in event.data["epochs"]]
            assert event.data["train_loss"] == [history["train_loss"][position] for position in positions]
    fractions = [event.data["fraction"] for event in events if event.type == "progress"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_last_event_id_continues_a_stream(service: Service) -> None:
    """A client that reconnects with its last id receives all epochs since then and the end."""
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
    again = list(stream_events(service, path, missed[-2].id))  # the connection broke before the end
    assert (reported_epochs(again), again[-1].type, again[-1].data) == ([], "end", service.job(job_id))
    assert [event.type for event in stream_events(service, path, "nonsense")][-1] == "end"


def test_no_stream_follows_the_end(service: Service) -> None:
    """A request with the id of the `end` event gets 204, so that an EventSource does not reconnect."""
    path = f"/v1/jobs/{service.succeeded(thermometer(epochs=1))['id']}/events"
    *_, end = stream_events(service, path)
    assert end.id is not None
    answer = service.client.get(path, headers={"Last-Event-ID": end.id})
    assert (answer.status_code, answer.content) == (httpx.codes.NO_CONTENT, b"")


def test_missed_epochs_are_thinned_out(service: Service) -> None:
    """An event has at most 500 epochs, which include the first and the last missed epoch."""
    job_id = service.succeeded(thermometer(epochs=1200))["id"]
    reported = reported_epochs(list(stream_events(service, f"/v1/jobs/{job_id}/events", "0.0")))
    assert (len(reported), reported[0], reported[-1]) == (500, 1, 1200)


def test_an_unknown_job_has_no_events(service: Service) -> None:
    """The events of an unknown job are 404 with a problem."""
    response = service.client.get("/v1/jobs/job_gone/events")
    assert (response.status_code, response.json()["type"]) == (404, "/problems/job-not-found")


def test_one_stream_reports_all_jobs(service: Service) -> None:
    """One stream reports status and end of every job, and a later request with an id continues it."""
    types: dict[str, list[str]] = {}
    ready, done = threading.Event(), threading.Event()
    ids: list[str] = []
    first: list[Event] = []

    def listen() -> None:
        url = f"{service.client.base_url}/v1/events"
        with httpx.stream("GET", url, timeout=60.0) as response:
            ready.set()
            for event in read_events(response.iter_lines()):
                first.append(event)
                types.setdefault(event.data["id"], []).append(event.type)
                if done.is_set() and all("end" in types.get(job_id, []) for job_id in ids):
                    return

    listener = threading.Thread(target=listen)
    listener.start()
    ready.wait()
    ids.extend(service.queued(thermometer(epochs=200)) for _ in range(3))
    done.set()
    for job_id in ids:
        service.ended(job_id)
    service.queued(thermometer(epochs=1))  # one more change wakes a listener that has received everything
    listener.join(60.0)
    assert not listener.is_alive()
    for job_id in ids:
        reported = [each for each in types[job_id] if each != "progress"]
        assert reported[0] == "status"
        assert reported[-1] == "end"
        assert reported.count("end") == 1
    begin = next(event.id for event in first if event.data["id"] == ids[0] and event.id is not None)
    missing = set(ids)
    for event in stream_events(service, "/v1/events", begin):
        if event.type == "end":
            missing.discard(event.data["id"])
        if not missing:
            break


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.exhaustive)])
def test_many_clients_receive_the_end(narrow_service: Service, count: int) -> None:
    """Each of many open streams receives the end of its job and uses bounded memory."""
    service = narrow_service
    job_id = service.running(thermometer(epochs=LONG))
    before = service.process.memory_info().rss
    request = (
        f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )
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
    assert grown < count * LISTENER_BYTES, f"{grown / count:.0f} bytes for each stream"
