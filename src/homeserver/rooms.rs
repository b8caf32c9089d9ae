//! The rooms this homeserver has a copy of: loaded once, each with a lock that serializes what is appended to it.
pub mod acl;
pub mod apart;
pub mod append;
pub mod backfill;
pub mod create;
pub mod doorway;
pub mod exchange_invite;
pub mod fetch;
pub mod handshake;
pub mod history;
pub mod ingest;
pub mod invite;
pub mod join;
pub mod knock;
pub mod late;
mod members;
pub mod membership;
pub mod policy;
pub mod purge;
pub mod recall;
pub mod restricted;
pub mod send;
mod stripped;
pub mod succession;
mod tail;
pub mod third_party_invites;
mod through;
pub mod upgrade;
pub mod waiting;
pub mod welcome;

use std::{
    cell::{Ref, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ruma::{
    OwnedEventId, OwnedRoomId, OwnedServerName, RoomId, RoomVersionId, ServerName, UserId,
    events::room::member::MembershipState, room_version_rules::RoomVersionRules,
};

pub use self::members::Members;
use self::tail::Tail;
use super::{
    events::{Events, RulesByRoom},
    positions::Positions,
    queueing::{FairGuard, FairLock},
    states::{State, States},
};
use crate::{
    domain::room_version,
    ports::StoreError,
    storage::{
        Database, Direction,
        tables::{Purges, RelationsIndex, RoomMembers, RoomRow, Rooms as RoomsTable, Timeline},
    },
};

/// Where a room stands now. Replaced as a whole, after the commit that made it so.
#[derive(Clone)]
pub struct Live {
    /// Forward extremities.
    pub heads: Vec<OwnedEventId>,
    /// The current state: the resolution of the states after the heads.
    pub state: State,
    pub members: Members,
    /// Whether a local user is joined.
    pub resident: bool,
    /// The order of the newest timeline event; 0 if there is none.
    pub newest_order: i64,
    /// The order of the oldest timeline event; 0 if there is none.
    pub oldest_order: i64,
    pub relations: RelationsIndex,
}

/// A room in short, as its row has it.
#[derive(Clone, Debug)]
pub struct Standing {
    pub id: OwnedRoomId,
    pub num: u64,
    /// Its current state, a key of `states`.
    pub state: u64,
    pub resident: bool,
}

pub struct Room {
    pub id: OwnedRoomId,
    pub num: u64,
    pub version: RoomVersionId,
    pub rules: Rc<RoomVersionRules>,
    pub create_event: OwnedEventId,
    live: RefCell<Live>,
    tail: RefCell<Tail>,
    lock: FairLock,
}

impl Room {
    pub fn live(&self) -> Ref<'_, Live> {
        self.live.borrow()
    }

    /// Rows of the timeline with `after < order <= through`, as [`Tail::read`] has them in memory.
    pub fn recent_rows(
        &self,
        after: i64,
        through: i64,
        direction: Direction,
        limit: usize,
    ) -> Option<Vec<(i64, OwnedEventId)>> {
        self.tail.borrow().read(after, through, direction, limit)
    }

    /// Serializes appends, in the order they come. Never held while a peer is asked for anything.
    pub async fn lock(&self) -> FairGuard<'_> {
        self.lock.lock().await
    }

    pub fn membership(&self, user_id: &UserId) -> Option<MembershipState> {
        self.live().members.get(user_id).map(|member| member.membership.clone())
    }

    pub fn is_joined(&self, user_id: &UserId) -> bool {
        self.membership(user_id) == Some(MembershipState::Join)
    }

    /// The servers with a joined member, this one included if it has one.
    pub fn joined_servers(&self) -> BTreeSet<OwnedServerName> {
        self.live().members.servers()
    }

    pub fn has_joined_server(&self, server: &ServerName) -> bool {
        self.live().members.has_server(server)
    }
}

/// Every room by id. Rows are read at start; state and members when a room is first used.
pub struct Rooms {
    own: OwnedServerName,
    database: Database,
    positions: Positions,
    rules: RulesByRoom,
    rows: RefCell<BTreeMap<OwnedRoomId, RoomRow>>,
    loaded: RefCell<BTreeMap<OwnedRoomId, Rc<Room>>>,
    pub states: States,
    pub events: Events,
}

impl Rooms {
    pub async fn open(database: Database, positions: Positions, own: OwnedServerName) -> Result<Self, StoreError> {
        let rules = RulesByRoom::default();
        let rows: BTreeMap<_, _> = database.scan_all::<RoomsTable, _>(&()).await?.into_iter().collect();
        for row in rows.values() {
            rules.borrow_mut().insert(row.num, rules_of(&row.version)?);
        }
        for (num, row) in database.scan_all::<Purges, _>(&()).await? {
            rules.borrow_mut().insert(num, rules_of(&row.version)?);
        }
        Ok(Self {
            own,
            states: States::new(database.clone(), positions.clone()),
            events: Events::new(database.clone(), rules.clone()),
            database,
            positions,
            rules,
            rows: RefCell::new(rows),
            loaded: RefCell::default(),
        })
    }

    /// Ids of all rooms we have a copy of, whether or not we are still in them.
    pub fn ids(&self) -> Vec<OwnedRoomId> {
        self.rows.borrow().keys().cloned().collect()
    }

    /// The rooms whose relations are not all in the index.
    pub fn unindexed(&self) -> Vec<OwnedRoomId> {
        let rows = self.rows.borrow();
        let unindexed = rows
            .iter()
            .filter(|(_, row)| matches!(row.relations, RelationsIndex::Absent | RelationsIndex::Building { .. }));
        unindexed.map(|(room_id, _)| room_id.clone()).collect()
    }

    /// Where every room we have a copy of stands, read from memory.
    pub fn standings(&self) -> Vec<Standing> {
        let rows = self.rows.borrow();
        let standing = |(id, row): (&OwnedRoomId, &RoomRow)| Standing {
            id: id.clone(),
            num: row.num,
            state: row.state,
            resident: row.resident,
        };
        rows.iter().map(standing).collect()
    }

    /// The order of the newest timeline event of a room, read from memory. `None` if we have no copy of the room.
    pub fn newest_order(&self, room_id: &RoomId) -> Option<i64> {
        self.rows.borrow().get(room_id).map(|row| row.newest_order)
    }

    pub async fn get(&self, room_id: &RoomId) -> Result<Option<Rc<Room>>, StoreError> {
        if let Some(room) = self.loaded.borrow().get(room_id) {
            return Ok(Some(room.clone()));
        }
        let Some(row) = self.rows.borrow().get(room_id).cloned() else { return Ok(None) };
        let read = self.load(room_id.to_owned(), row).await;
        // Whoever was first holds the room's lock for all; what was read meanwhile may be half of before and half of after.
        if let Some(room) = self.loaded.borrow().get(room_id) {
            return Ok(Some(room.clone()));
        }
        let room = Rc::new(read?);
        self.loaded.borrow_mut().insert(room_id.to_owned(), room.clone());
        Ok(Some(room))
    }

    /// A short number for a new room.
    pub async fn next_num(&self) -> Result<u64, StoreError> {
        Ok(self.positions.next().await?.value())
    }

    /// Makes the rules of a room known under its number, so that its events can be read back.
    pub fn register_rules(&self, num: u64, rules: Rc<RoomVersionRules>) {
        self.rules.borrow_mut().insert(num, rules);
    }

    /// A room not yet in the registry: its first events are being written.
    pub fn new_room(&self, id: OwnedRoomId, row: &RoomRow, rules: Rc<RoomVersionRules>, state: State) -> Rc<Room> {
        let live = Live {
            heads: Vec::new(),
            state,
            members: Members::new(self.own.clone()),
            resident: false,
            newest_order: 0,
            oldest_order: 0,
            relations: row.relations,
        };
        Rc::new(Room {
            id,
            num: row.num,
            version: row.version.clone(),
            rules,
            create_event: row.create_event.clone(),
            live: RefCell::new(live),
            tail: RefCell::new(Tail::beyond(0)),
            lock: FairLock::default(),
        })
    }

    /// Takes a room out of the registry: a commit made it one that we have no copy of.
    fn remove(&self, room_id: &RoomId) {
        self.rows.borrow_mut().remove(room_id);
        self.loaded.borrow_mut().remove(room_id);
    }

    /// Adopts what a commit has made durable; `grown` is what the timeline has become longer by.
    fn adopt(&self, room: &Rc<Room>, row: RoomRow, live: Live, grown: impl Iterator<Item = (i64, OwnedEventId)>) {
        room.live.replace(live);
        grown.for_each(|(order, event_id)| room.tail.borrow_mut().push(order, event_id));
        self.rows.borrow_mut().insert(room.id.clone(), row);
        self.loaded.borrow_mut().insert(room.id.clone(), room.clone());
    }

    async fn load(&self, id: OwnedRoomId, row: RoomRow) -> Result<Room, StoreError> {
        let edge = |direction| self.database.scan_prefix::<Timeline, _>(&row.num, direction, 1);
        let (state, members, newest, oldest) = futures::try_join!(
            self.states.load(row.state),
            self.database.scan_all::<RoomMembers, _>(&row.num),
            edge(Direction::Descending),
            edge(Direction::Ascending),
        )?;
        let mut known = Members::new(self.own.clone());
        members.into_iter().for_each(|((_, user), row)| known.insert(user, Rc::new(row)));
        let order = |rows: Vec<((u64, i64), OwnedEventId)>| rows.first().map_or(0, |((_, order), _)| *order);
        let (newest, oldest) = (order(newest), order(oldest));
        let relations = match row.relations {
            // What is there now is to be gone through; what is appended from here on goes into the index at once.
            RelationsIndex::Absent => RelationsIndex::Building { next: newest, oldest },
            known => known,
        };
        let live = Live {
            heads: row.heads.clone(),
            state,
            members: known,
            resident: row.resident,
            newest_order: newest,
            oldest_order: oldest,
            relations,
        };
        Ok(Room {
            id,
            num: row.num,
            rules: rules_of(&row.version)?,
            version: row.version,
            create_event: row.create_event,
            tail: RefCell::new(Tail::beyond(live.newest_order)),
            live: RefCell::new(live),
            lock: FairLock::default(),
        })
    }
}

fn rules_of(version: &RoomVersionId) -> Result<Rc<RoomVersionRules>, StoreError> {
    room_version::rules(version)
        .map(Rc::new)
        .map_err(|_| StoreError::Backend(format!("a stored room has the unsupported version {version}")))
}
