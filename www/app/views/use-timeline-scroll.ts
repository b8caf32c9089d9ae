// Keeps the reader's place in a list that grows at both ends: stays at the end while they are there, otherwise stays put.

import { useCallback, useEffect, useLayoutEffect, useRef, useState, type RefObject } from "react";

/** Closer to the end than this counts as being there. */
const AT_END_PX = 48;
/** Older messages are asked for when this much or less is left above. */
const LOAD_OLDER_PX = 400;

export interface TimelineScroll {
  scroller: RefObject<HTMLDivElement | null>;
  atEnd: boolean;
  toEnd: () => void;
}

/** `firstKey` and `lastKey` name the first and the last line; `onNearTop` is called while the reader is near the top. */
export function useTimelineScroll(firstKey: string | undefined, lastKey: string | undefined, onNearTop: () => void): TimelineScroll {
  const scroller = useRef<HTMLDivElement>(null);
  const [atEnd, setAtEnd] = useState(true);
  const place = useRef({ atEnd: true, fromEnd: 0, firstKey, opened: false });

  const toEnd = useCallback((): void => {
    const element = scroller.current;
    if (element) element.scrollTop = element.scrollHeight;
  }, []);

  const note = useCallback((): void => {
    const element = scroller.current;
    if (!element) return;
    place.current.fromEnd = element.scrollHeight - element.scrollTop;
    place.current.atEnd = place.current.fromEnd - element.clientHeight <= AT_END_PX;
    setAtEnd(place.current.atEnd);
    if (element.scrollTop <= LOAD_OLDER_PX) onNearTop();
  }, [onNearTop]);

  useLayoutEffect(() => {
    const element = scroller.current;
    if (!element || lastKey === undefined) return;
    const was = place.current;
    if (!was.opened) {
      was.opened = true;
      element.scrollTop = element.scrollHeight;
      showMarker(element);
    } else if (was.atEnd) {
      element.scrollTop = element.scrollHeight;
    } else if (was.firstKey !== firstKey) {
      element.scrollTop = element.scrollHeight - was.fromEnd;
    }
    was.firstKey = firstKey;
    note();
  }, [firstKey, lastKey, note]);

  useEffect(() => {
    const element = scroller.current;
    if (!element) return undefined;
    element.addEventListener("scroll", note, { passive: true });
    // The composer grows, a keyboard opens, a line gets longer: the end stays in sight.
    const observer = new ResizeObserver(() => {
      if (place.current.atEnd) toEnd();
      note();
    });
    observer.observe(element);
    if (element.firstElementChild) observer.observe(element.firstElementChild);
    return () => {
      element.removeEventListener("scroll", note);
      observer.disconnect();
    };
  }, [note, toEnd]);

  return { scroller, atEnd, toEnd };
}

/** Brings the first unread line to the middle. Not by scrollIntoView, which would move the page around the list as well. */
function showMarker(scroller: HTMLElement): void {
  const marker = scroller.querySelector("[data-unread-marker]");
  if (!marker) return;
  const above = marker.getBoundingClientRect().top - scroller.getBoundingClientRect().top;
  scroller.scrollTop += above - scroller.clientHeight / 2;
}
