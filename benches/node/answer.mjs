// An HTTP answer put together from what comes of it. No byte is gone through twice, so that a long answer takes a client
// no longer than its length says.
export class Answer {
  status;
  whole = false;
  #unread = Buffer.alloc(0);
  #body = [];
  #chunked = false;
  /** Bytes to come of the body, or of its present chunk; undefined where a line is to come first. */
  #left;
  #last = false;

  /** Takes what comes next of one connection; nothing of a later answer is expected. */
  take(bytes) {
    this.#unread = this.#unread.length ? Buffer.concat([this.#unread, bytes]) : bytes;
    while (!this.whole && this.#read());
  }

  /** The body, once it is whole. */
  content() {
    return Buffer.concat(this.#body);
  }

  /** Whether there was something to go on with. */
  #read() {
    if (this.status === undefined) return this.#readHead();
    return this.#left === undefined ? this.#readChunkHead() : this.#readBody();
  }

  #readHead() {
    const head = this.#until("\r\n\r\n");
    if (head === undefined) return false;
    this.status = Number(head.split(" ", 2)[1]);
    this.#chunked = /^transfer-encoding: chunked/im.test(head);
    if (!this.#chunked) this.#expect(Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0));
    return true;
  }

  #readChunkHead() {
    const line = this.#until("\r\n");
    if (line === undefined) return false;
    // A chunk is followed by an empty line, and so is the last one, which is empty itself.
    if (line === "") this.whole = this.#last;
    else if (parseInt(line, 16) === 0) this.#last = true;
    else this.#expect(parseInt(line, 16));
    return true;
  }

  #readBody() {
    if (this.#unread.length === 0) return false;
    const part = this.#unread.subarray(0, this.#left);
    this.#body.push(part);
    this.#unread = this.#unread.subarray(part.length);
    this.#expect(this.#left - part.length);
    return true;
  }

  #expect(bytes) {
    this.#left = bytes || undefined;
    if (bytes === 0 && !this.#chunked) this.whole = true;
  }

  /** The text up to `end`, which is left out of it and of what is unread. */
  #until(end) {
    const at = this.#unread.indexOf(end);
    if (at < 0) return undefined;
    const text = this.#unread.toString("latin1", 0, at);
    this.#unread = this.#unread.subarray(at + end.length);
    return text;
  }
}
