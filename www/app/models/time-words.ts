// Dates and times as people say them, in the browser's language.

import { strings } from "../strings.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
const WEEK_DAYS = 7;

const timeOfDay = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long" });
const dayAndMonth = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const longDay = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const longDate = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const fullMoment = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

/** Whole days between the local dates of two moments. */
export function daysBetween(earlierMs: number, laterMs: number): number {
  return Math.round((startOfDay(laterMs) - startOfDay(earlierMs)) / DAY_MS);
}

export function isSameDay(oneMs: number, otherMs: number): boolean {
  return startOfDay(oneMs) === startOfDay(otherMs);
}

/** For a separator between days: "Today", "Yesterday", "Monday 3 May", or with the year when it is another one. */
export function dayWords(atMs: number, nowMs: number): string {
  const days = daysBetween(atMs, nowMs);
  if (days === 0) return strings.time.today;
  if (days === 1) return strings.time.yesterday;
  return new Date(atMs).getFullYear() === new Date(nowMs).getFullYear() ? longDay.format(atMs) : longDate.format(atMs);
}

/** For a list: the time today, then the weekday, then the date. */
export function shortMoment(atMs: number, nowMs: number): string {
  const days = daysBetween(atMs, nowMs);
  if (days === 0) return timeOfDay.format(atMs);
  if (days === 1) return strings.time.yesterday;
  return days > 1 && days < WEEK_DAYS ? weekday.format(atMs) : dayAndMonth.format(atMs);
}

export function timeWords(atMs: number): string {
  return timeOfDay.format(atMs);
}

export function momentWords(atMs: number): string {
  return fullMoment.format(atMs);
}

/** "in 20 seconds", "in 3 minutes"; "now" when the moment has passed. */
export function untilWords(atMs: number, nowMs: number): string {
  const seconds = Math.ceil((atMs - nowMs) / 1000);
  if (seconds <= 0) return strings.time.now;
  return seconds < 90 ? strings.time.inSeconds(seconds) : strings.time.inMinutes(Math.round(seconds / 60));
}

function startOfDay(atMs: number): number {
  const date = new Date(atMs);
  return new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
}
