"""Who may ask."""

import pytest
from serve.conftest import client_of

from clipfuse.serve.guard import is_loopback

TOKEN = "a-token-of-some-length"


@pytest.mark.parametrize("name", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "LOCALHOST"])
def test_own_names(client, name):
    assert client.get("/labels", headers={"Host": name}).status_code == 200


FOREIGN = ["evil.example", "127.0.0.1.evil.example", "", "[", "localhost@evil.example", "10.0.0.1"]


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_names(client, name):
    """A page of another site whose name was made to mean this machine."""
    for answer in (client.get("/labels", headers={"Host": name}), client.get("/", headers={"Host": name})):
        assert answer.status_code == 403 and answer.json()["error"]["code"] == "foreign_host"


def test_pages_of_other_sites(client):
    row = [{"caption": "a"}]
    for origin in ("http://evil.example", "null", "http://127.0.0.1:99", "http://["):
        answer = client.post("/predict", json=row, headers={"Origin": origin})
        assert answer.status_code == 403 and answer.json()["error"]["code"] == "foreign_origin"
    assert client.post("/predict", json=row, headers={"Origin": "http://127.0.0.1"}).status_code == 200
    assert "access-control-allow-origin" not in client.get("/labels", headers={"Origin": "http://evil.example"}).headers


def test_the_token(loaded):
    with client_of(loaded, token=TOKEN, host="0.0.0.0") as client:
        for path in ("/", "/app.js", "/health", "/openapi.json"):
            assert client.get(path, headers={"Host": "any.example"}).status_code == 200
        for given in ("", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", "Bearer ", "Bearer é"):
            headers = {"Authorization": given.encode("latin-1")}
            for answer in (client.get("/labels", headers=headers), client.get("/metrics", headers=headers)):
                assert answer.status_code == 401 and answer.json()["error"]["code"] == "no_token"
                assert answer.headers["www-authenticate"] == "Bearer" and TOKEN not in answer.text
            assert client.post("/predict", json=[{"caption": "a"}], headers=headers).status_code == 401
        headers = {"Authorization": f"bearer {TOKEN}", "Host": "any.example"}
        assert client.get("/labels", headers=headers).status_code == 200
        assert client.post("/predict", json=[{"caption": "a"}], headers=headers).status_code == 200
        assert "HTTPBearer" in client.get("/openapi.json").json()["components"]["securitySchemes"]


def test_loopback():
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.8.9.1", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "example.org", "")))
