"""mautrix, unmodified, as bots and bridges use it: register, rooms, messages, sync. Argument: the base URL."""
import asyncio
import sys

from mautrix.api import HTTPAPI, Method, Path
from mautrix.client import Client
from mautrix.errors import MForbidden, MNotFound
from mautrix.types import (
    EventType, MatrixUserIdentifier, Membership, MessageType, PaginationDirection, RoomCreatePreset,
    TextMessageEventContent, UserID,
)

PASSWORD = "correct horse battery staple"


async def registered(url, name):
    api = HTTPAPI(base_url=url)
    body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}, "inhibit_login": True}
    answer = await api.request(Method.POST, Path.v3.register, content=body)
    client = Client(UserID(answer["user_id"]), base_url=url)
    await client.login(MatrixUserIdentifier(user=name), password=PASSWORD, device_name="mautrix")
    assert (await client.whoami()).user_id == client.mxid
    await api.session.close()
    return client


async def story(url):
    ada, bob = await registered(url, "mautrix-ada"), await registered(url, "mautrix-bob")
    try:
        room = await ada.create_room(preset=RoomCreatePreset.PRIVATE, name="Tea", invitees=[bob.mxid])
        try:
            await bob.get_state(room)
            raise AssertionError("who is invited only reads the state")
        except MForbidden:
            pass
        await bob.join_room(room)
        assert set(await ada.get_joined_members(room)) == {ada.mxid, bob.mxid}

        heard = asyncio.get_running_loop().create_future()

        async def on_message(event):
            if event.sender == bob.mxid and not heard.done():
                heard.set_result(event)

        ada.add_event_handler(EventType.ROOM_MESSAGE, on_message)
        ada.start(None)
        said = await bob.send_text(room, "Hello")
        event = await asyncio.wait_for(heard, 20)
        assert (event.event_id, event.content.body) == (said, "Hello")
        ada.stop()

        await bob.react(room, said, "tea")
        edit = TextMessageEventContent(msgtype=MessageType.TEXT, body="Hello, Ada")
        edit.set_edit(said)
        await bob.send_message(room, edit)
        page = await ada.get_messages(room, PaginationDirection.BACKWARD, limit=10)
        assert len(page.events) == 10, page
        context = await ada.get_event_context(room, said, limit=4)
        assert context.event.event_id == said
        await ada.send_receipt(room, said)
        await bob.redact(room, said, "no")
        await ada.set_displayname("Ada")
        assert (await bob.get_profile(ada.mxid)).displayname == "Ada"
        try:
            await ada.get_state_event(room, EventType.ROOM_TOPIC)
            raise AssertionError("nobody set a topic")
        except MNotFound:
            pass
        await ada.kick_user(room, bob.mxid, "tea is over")
        member = await ada.get_state_event(room, EventType.ROOM_MEMBER, bob.mxid)
        assert member.membership == Membership.LEAVE
        await ada.logout()
    finally:
        for client in (ada, bob):
            await client.api.session.close()


asyncio.run(asyncio.wait_for(story(sys.argv[1]), 60))
