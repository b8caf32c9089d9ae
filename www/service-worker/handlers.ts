// Who answers which request: the first handler in the list that can.
import type { AssetHandler } from "./asset-handler.ts";
import type { MatrixHandler } from "./matrix-handler.ts";

export interface Handler {
  name: string;
  canHandle(request: Request): boolean;
  /** `clientId` names the page or worker that asks. Rejecting fails the request as a network error does. */
  handle(request: Request, clientId: string): Promise<Handled>;
}

export interface Handled {
  response: Response;
  /** Called in the same turn in which the response goes to the browser. */
  handedOver?: () => void;
}

export function orderedHandlers(matrix: MatrixHandler, assets: AssetHandler): Handler[] {
  return [matrix.wellKnown, matrix.homeserver, assets];
}

/** Undefined: the browser goes to the network as if there were no service worker. */
export function chooseHandler(handlers: Handler[], request: Request): Handler | undefined {
  return handlers.find((handler) => handler.canHandle(request));
}
