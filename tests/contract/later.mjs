// Operations that answer M_UNRECOGNIZED today, with the work that will change that. Nothing else may answer so.

const ENCRYPTION = "end-to-end encryption";
const MEDIA = "media";
const SEARCH = "search";
const APPLICATION_SERVICES = "application services and third-party networks";

export const LATER = Object.fromEntries([
  ...["uploadKeys", "queryKeys", "claimKeys", "uploadCrossSigningKeys", "uploadCrossSigningSignatures",
    "postRoomKeysVersion", "getRoomKeysVersionCurrent", "getRoomKeysVersion", "putRoomKeysVersion", "deleteRoomKeysVersion",
    "putRoomKeyBySessionId", "getRoomKeyBySessionId", "deleteRoomKeyBySessionId", "putRoomKeysByRoomId", "getRoomKeysByRoomId",
    "deleteRoomKeysByRoomId", "putRoomKeys", "getRoomKeys", "deleteRoomKeys"].map((id) => [id, ENCRYPTION]),
  ...["getContentAuthed", "getContentOverrideNameAuthed", "getContentThumbnailAuthed", "getUrlPreviewAuthed", "getConfigAuthed",
    "uploadContent", "uploadContentToMXC", "createContent", "getContent", "getContentOverrideName", "getContentThumbnail",
    "getUrlPreview", "getConfig"].map((id) => [id, MEDIA]),
  ["search", SEARCH],
  ...["pingAppservice", "updateAppserviceRoomDirectoryVisibility", "getProtocols", "getProtocolMetadata", "queryLocationByProtocol",
    "queryUserByProtocol", "queryLocationByAlias", "queryUserByID"].map((id) => [id, APPLICATION_SERVICES]),
]);
