"""matrix-nio, unmodified, against a homeserver: two people talk in a room. Argument: its base URL."""
import asyncio
import sys

from nio import (
    AsyncClient, DeleteDevicesResponse, DevicesResponse, JoinResponse, ProfileGetDisplayNameResponse, ReactionEvent,
    RegisterResponse, RoomCreateResponse, RoomMessagesResponse, RoomMessageText, RoomPreset, RoomPutStateResponse,
    RoomReadMarkersResponse, RoomRedactResponse, RoomResolveAliasResponse, RoomSendResponse, RoomTypingResponse,
    RoomVisibility, SyncResponse, TypingNoticeEvent, UploadFilterResponse, WhoamiResponse,
)

PASSWORD = "correct horse battery staple"


def expect(answer, kind):
    assert isinstance(answer, kind), answer
    return answer


async def registered(url, name):
    client = AsyncClient(url, name)
    expect(await client.register(name, PASSWORD, "nio"), RegisterResponse)
    expect(await client.whoami(), WhoamiResponse)
    return client


async def story(url):
    ada, bob = await registered(url, "nio-ada"), await registered(url, "nio-bob")
    try:
        created = expect(
            await ada.room_create(visibility=RoomVisibility.public, alias="nio", name="Tea", topic="Hot",
                                  preset=RoomPreset.public_chat),
            RoomCreateResponse)
        room = created.room_id
        alias = f"#nio:{ada.user_id.split(':', 1)[1]}"
        assert expect(await bob.room_resolve_alias(alias), RoomResolveAliasResponse).room_id == room
        expect(await bob.join(alias), JoinResponse)
        expect(await bob.set_displayname("Bob"), object)
        assert expect(await ada.get_displayname(bob.user_id), ProfileGetDisplayNameResponse).displayname == "Bob"

        heard, noticed, reactions = [], [], []
        ada.add_event_callback(lambda _, event: heard.append(event.body), RoomMessageText)
        ada.add_event_callback(lambda _, event: reactions.append(event.key), ReactionEvent)
        ada.add_ephemeral_callback(lambda _, event: noticed.append(event.users), TypingNoticeEvent)
        expect(await ada.sync(timeout=0, full_state=True), SyncResponse)
        assert ada.rooms[room].name == "Tea" and ada.rooms[room].topic == "Hot", ada.rooms[room].name
        while ada.rooms[room].user_name(bob.user_id) != "Bob":
            expect(await ada.sync(timeout=5_000), SyncResponse)

        expect(await bob.room_typing(room, True, 10_000), RoomTypingResponse)
        said = expect(await bob.room_send(room, "m.room.message", {"msgtype": "m.text", "body": "Hello"}), RoomSendResponse)
        relation = {"m.relates_to": {"rel_type": "m.annotation", "event_id": said.event_id, "key": "tea"}}
        expect(await bob.room_send(room, "m.reaction", relation), RoomSendResponse)
        while not (heard and reactions and noticed):
            expect(await ada.sync(timeout=5_000), SyncResponse)
        assert heard == ["Hello"] and reactions == ["tea"] and noticed[0] == [bob.user_id], (heard, reactions, noticed)
        expect(await ada.room_read_markers(room, said.event_id, said.event_id), RoomReadMarkersResponse)

        history = expect(await ada.room_messages(room, ada.next_batch, limit=50), RoomMessagesResponse)
        assert any(getattr(event, "body", None) == "Hello" for event in history.chunk), history
        expect(await ada.room_put_state(room, "m.room.topic", {"topic": "Cold"}), RoomPutStateResponse)
        expect(await ada.room_redact(room, said.event_id, "no"), RoomRedactResponse)
        expect(await ada.upload_filter(room={"timeline": {"limit": 1}}), UploadFilterResponse)

        other = AsyncClient(url, ada.user_id)
        await other.login(PASSWORD, "second")
        devices = expect(await ada.devices(), DevicesResponse).devices
        assert len(devices) == 2, devices
        ask = await ada.delete_devices([other.device_id])
        proof = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": ada.user_id},
                 "password": PASSWORD, "session": ask.session}
        expect(await ada.delete_devices([other.device_id], proof), DeleteDevicesResponse)
        await other.close()
    finally:
        await ada.close()
        await bob.close()


asyncio.run(asyncio.wait_for(story(sys.argv[1]), 60))
