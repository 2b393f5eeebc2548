// A client of npm's ws. Usage: node ws-client.js URL COUNT. COUNT connections at once; each has every message
// back, one of them in three frames, has the pong of its ping, and closes with a code that comes back.
// It prints `well`.
"use strict";
const assert = require("assert");
const WebSocket = require("ws");

const [url, count] = process.argv.slice(2);
const bytes = n => Buffer.from(Uint8Array.from({ length: n }, (_, i) => i * 7 & 255));
const messages = ["", "plain", "h\u00e9 \u20ac \u{1f600}", "x".repeat(70000),
    ...[0, 1, 125, 126, 4096, 65535, 65536, 100000].map(bytes)];

function talk() {
    return new Promise((done, fail) => {
        // It offers permessage-deflate, which the server does not agree to.
        const ws = new WebSocket(url, ["soap", "chat"]);
        const due = [...messages, "one, \u20ac two, three"];
        let isAnswered = false;
        ws.on("open", () => {
            assert.strictEqual(ws.protocol, "chat");
            assert.strictEqual(ws.extensions, "");
            messages.forEach(message => ws.send(message));
            ws.send("one, \u20ac", { fin: false });
            ws.ping("between frames");
            ws.send(" two,", { fin: false });
            ws.send(" three", { fin: true });
        });
        const next = () => due.length === 0 && isAnswered && ws.close(4321, "bye");
        ws.on("pong", data => {
            assert.strictEqual(String(data), "between frames");
            isAnswered = true;
            next();
        });
        ws.on("message", (data, isBinary) => {
            const message = due.shift();
            assert.strictEqual(isBinary, Buffer.isBuffer(message));
            assert(Buffer.from(message).equals(data), `${data.length} bytes are others`);
            next();
        });
        // The reason need not come back.
        ws.on("close", code => {
            assert.strictEqual(code, 4321);
            done();
        });
        ws.on("error", fail);
    });
}

process.on("unhandledRejection", error => { throw error; });
Promise.all(Array.from({ length: Number(count) }, talk)).then(() => console.log("well"));
