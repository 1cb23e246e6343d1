"""What a served run answers to those who ask as they should, and to those who ask too much."""

import io
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import anyio
import numpy as np
import pytest
from PIL import Image
from serve.conftest import SMALL, client_of, encoded

from clipfuse.loaded_run import load_run


def wait_for(condition):
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


class TestPredict:
    def test_a_form(self, client, loaded, kite):
        answer = client.post("/predict", files={"image": ("kite.jpg", kite)}, data={"caption": "a red kite"})
        assert answer.status_code == 200
        found, expected = answer.json(), loaded.predict(images=[kite], captions=["a red kite"])
        assert found["run"] == loaded.run.name
        (row,) = found["rows"]
        assert list(row["probabilities"]) == list(loaded.labels)
        np.testing.assert_allclose(list(row["probabilities"].values()), expected.probabilities[0], atol=2e-3)
        assert row["labels"] == expected.chosen_labels[0]
        assert (row["problems"], row["ignored"], row["without_input"]) == ({}, [], False)

    def test_a_list(self, client, loaded, kite):
        rows = [{"image": encoded(kite)}, {"caption": "a dog", "image": None}, {"image": "AAAA", "caption": " "}]
        answer = client.post("/predict", json=rows)
        assert answer.status_code == 200
        expected = loaded.predict(images=[kite, None, b"\0\0\0"], captions=[None, "a dog", None])
        found = [list(row["probabilities"].values()) for row in answer.json()["rows"]]
        np.testing.assert_allclose(found, expected.probabilities, atol=2e-3)
        assert [row["without_input"] for row in answer.json()["rows"]] == [False, False, True]
        assert answer.json()["rows"][2]["problems"] == {"image": "not a picture of a known format"}

    def test_a_picture_that_cant_be_used(self, client, kite):
        alone = client.post("/predict", files={"image": ("../../kite.jpg", b"no picture")})
        assert alone.status_code == 422 and alone.json()["error"]["code"] == "unusable_input"
        assert "not a picture of a known format" in alone.json()["error"]["message"]
        beside = client.post("/predict", files={"image": ("kite.jpg", kite[:500])}, data={"caption": "a dog"})
        assert beside.status_code == 200
        (row,) = beside.json()["rows"]
        assert "can't be decoded" in row["problems"]["image"] and not row["without_input"]

    def test_what_the_run_does_not_read(self, scenes, kite):
        with client_of(load_run(scenes.runs["image"].path, device="cpu", threads=1)) as client:
            both = client.post("/predict", files={"image": ("a", kite)}, data={"caption": "a dog"})
            assert both.json()["rows"][0]["ignored"] == ["text"]
            caption = client.post("/predict", data={"caption": "a dog"}, files={})
            assert caption.status_code == 415  # without a file it is no multipart form
            caption = client.post("/predict", json=[{"caption": "a dog"}])
            assert caption.status_code == 422
            assert caption.json()["error"]["message"] == "the run does not read what was given"
            numbers = client.post("/predict", json=[{"numbers": {"price": 3}}])
            assert "no column 'price'" in numbers.json()["error"]["message"]


class TestLook:
    def test_labels(self, client, loaded):
        found = client.get("/labels").json()
        assert [one["name"] for one in found["labels"]] == list(loaded.labels)
        assert [one["threshold"] for one in found["labels"]] == loaded.thresholds.tolist()
        assert found["reads"] == ["image", "text"] and found["number_columns"] == []
        assert found["limits"] == {"body_bytes": 200_000, "pixels": 1_000_000, "caption_characters": 100, "rows": 4}

    def test_health_and_metrics(self, client, kite):
        assert client.get("/health").json() == {"status": "ok"}
        client.post("/predict", json=[{"caption": "a"}, {"image": "AAAA", "caption": "b"}])
        client.get("/nowhere/1")
        client.get("/nowhere/2")
        lines = client.get("/metrics").text.splitlines()
        assert 'clipfuse_requests_total{method="POST",path="/predict",status="200"} 1.0' in lines
        assert 'clipfuse_requests_total{method="GET",path="other",status="404"} 2.0' in lines
        assert 'clipfuse_unusable_inputs_total{part="image"} 1.0' in lines
        assert "clipfuse_batch_rows_sum 2.0" in lines and "clipfuse_requests_under_way 0.0" in lines

    def test_counts_are_each_servers_own(self, client, loaded):
        client.get("/health")
        with client_of(loaded) as other:
            assert "/health" not in other.get("/metrics").text

    def test_openapi(self, client):
        found = client.get("/openapi.json").json()
        assert set(found["paths"]) == {"/predict", "/labels", "/health", "/metrics"}
        predict = found["paths"]["/predict"]["post"]
        assert set(predict["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
        assert {"200", "413", "422", "503", "504"} <= set(predict["responses"])

    def test_the_page_needs_nothing_from_elsewhere(self, client):
        for path in ("/", "/app.js", "/table.js", "/style.css", "/icon.svg"):
            answer = client.get(path)
            assert answer.status_code == 200 and "http" not in answer.text.replace("http://www.w3.org/2000/svg", "")
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"

    def test_nothing_else_is_there(self, client):
        for path in ("/docs", "/redoc", "/labels/", "/page/app.js", "/../app.py", "/%2e%2e/app.py", "//etc/passwd"):
            answer = client.get(path)
            assert answer.status_code == 404 and answer.json()["error"]["code"] == "not_found"
        assert client.get("/predict").json()["error"]["code"] == "method_not_allowed"


class TestLimits:
    @pytest.mark.parametrize("claims", [True, False])
    def test_a_large_body(self, client, claims):
        body = b"x" * (SMALL.body_bytes + 1)
        read = []

        def pieces():
            for start in range(0, 50 * len(body), 10_000):
                read.append(start)
                yield body[:10_000]

        answer = client.post("/predict", content=body if claims else pieces())
        assert answer.status_code == 413 and answer.json()["error"]["code"] == "body_too_large"

    def test_many_pixels(self, client):
        out = io.BytesIO()
        Image.new("L", (1001, 1000)).save(out, "PNG")
        answer = client.post("/predict", files={"image": ("a", out.getvalue())})
        assert answer.status_code == 422
        assert "1001 × 1000 pixels are more than 1,000,000" in answer.json()["error"]["message"]

    def test_captions_and_rows(self, client):
        assert client.post("/predict", json=[{"caption": "a" * 101}]).json()["error"]["code"] == "caption_too_long"
        assert client.post("/predict", json=[{"caption": "a" * 100}] * 5).json()["error"]["code"] == "too_many_rows"
        assert client.post("/predict", json=[{"caption": "a" * 100}] * 4).status_code == 200


class TestQueue:
    def test_a_full_one_answers_503(self, slow):
        with client_of(slow, limits=replace(SMALL, waiting=2)) as client, ThreadPoolExecutor(2) as pool:
            first = pool.submit(client.post, "/predict", json=[{"caption": "a"}])
            assert slow.begun.wait(30)
            second = pool.submit(client.post, "/predict", json=[{"caption": "b"}])
            wait_for(lambda: "clipfuse_requests_under_way 2.0" in client.get("/metrics").text)
            full = client.post("/predict", json=[{"caption": "c"}])
            assert full.status_code == 503 and full.json()["error"]["code"] == "queue_full"
            assert int(full.headers["retry-after"]) >= 1
            assert client.get("/health").status_code == 200
            slow.go.set()
            assert first.result().status_code == second.result().status_code == 200
            assert client.post("/predict", json=[{"caption": "c"}]).status_code == 200

    def test_those_that_wait_are_predicted_together(self, slow):
        with client_of(slow) as client, ThreadPoolExecutor(6) as pool:
            first = pool.submit(client.post, "/predict", json=[{"caption": "first"}])
            assert slow.begun.wait(30)
            others = [pool.submit(client.post, "/predict", json=[{"caption": f"a {n}"}] * (n + 1)) for n in range(3)]
            wait_for(lambda: "clipfuse_requests_under_way 4.0" in client.get("/metrics").text)
            time.sleep(0.05)  # from its place to the line
            slow.go.set()
            assert [len(one.result().json()["rows"]) for one in others] == [1, 2, 3]
            assert first.result().status_code == 200
        assert slow.batches[0] == 1 and sum(slow.batches) == 7 and len(slow.batches) < 4

    def test_no_answer_in_time(self, slow):
        with client_of(slow, limits=replace(SMALL, answer_seconds=0.1, waiting=1)) as client:
            for _ in range(2):  # the second one finds a place and never comes to the model
                answer = client.post("/predict", json=[{"caption": "a"}])
                assert answer.status_code == 504 and answer.json()["error"]["code"] == "too_slow"
            slow.go.set()
        assert slow.batches == [1]

    def test_a_failure_is_its_own_requests_and_tells_nothing(self, slow):
        slow.fails_at = "bad"
        with client_of(slow) as client, ThreadPoolExecutor(6) as pool:
            first = pool.submit(client.post, "/predict", json=[{"caption": "first"}])
            assert slow.begun.wait(30)
            captions = ("good", "bad", "also good")
            others = [pool.submit(client.post, "/predict", json=[{"caption": name}]) for name in captions]
            wait_for(lambda: "clipfuse_requests_under_way 4.0" in client.get("/metrics").text)
            slow.go.set()
            assert first.result().status_code == 200
            assert [one.result().status_code for one in others] == [200, 500, 200]
            assert others[1].result().json()["error"]["code"] == "internal" and "path" not in others[1].result().text

    def test_a_body_that_comes_too_slowly(self, loaded):
        with client_of(loaded, limits=replace(SMALL, body_seconds=0.05)) as client:
            # the test's client sends a body whole: the server is asked by hand
            sent = []

            async def receive():
                await anyio.sleep(1)

            async def send(message):
                sent.append(message)

            headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
            scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers, "query_string": b""}
            client.portal.call(client.app, scope, receive, send)
        assert sent[0]["status"] == 408
