"""What no kind person sends: none of it is answered 500, with a traceback, or with a path."""

import json
import re
import sys
from pathlib import Path

import pytest
from serve.conftest import SMALL, client_of

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TELLING = re.compile(r'Traceback|File "|site-packages|\.py\b|/(home|root|tmp|usr|var|etc|work)/|0x[0-9a-f]{8}')


@pytest.fixture(scope="module")
def requests(kite):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        from hostile_requests import hostile_requests
    del sys.modules["hostile_requests"]
    return list(hostile_requests(390, kite, body_bytes=SMALL.body_bytes))


def test_none_is_answered_500(loaded, requests):
    seen = set()
    with client_of(loaded) as client:
        for one in requests:
            headers = [(name, value.encode("latin-1")) for name, value in one.headers]
            answer = client.request(one.method, one.path, headers=headers, content=one.body)
            assert answer.status_code in {200, 400, 401, 403, 404, 405, 413, 415, 422}, (one, answer.text)
            assert not TELLING.search(answer.text), (one, answer.text)
            assert str(loaded.run.path.parent) not in answer.text
            if answer.status_code >= 400 and one.method != "HEAD":
                error = answer.json()["error"]
                assert error["code"] and error["message"] and set(error) == {"code", "message", "fix"}
            elif one.path == "/predict" and answer.status_code == 200:
                values = [row["probabilities"].values() for row in answer.json()["rows"]]
                assert all(0 <= value <= 1 for row in values for value in row)
            seen.add(answer.status_code)
        assert {200, 400, 403, 404, 405, 413, 415, 422} <= seen
        assert client.post("/predict", json=[{"caption": "a dog"}]).status_code == 200
        assert 'status="500"' not in client.get("/metrics").text


WRONG = ("1e999", "true", '"3"', "[]")
NUMBERS = {"3": 200, "null": 422, "-1e30": 200, "NaN": 400, **dict.fromkeys(WRONG, 422)}


@pytest.mark.parametrize(("value", "status"), NUMBERS.items())
def test_numbers(numbers_client, value, status):
    body = f'[{{"numbers": {{"price": {value}}}}}]'
    answer = numbers_client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    form = {"numbers": (None, json.dumps({"age": 2})), "caption": (None, "a")}
    assert numbers_client.post("/predict", files=form).status_code == 200
