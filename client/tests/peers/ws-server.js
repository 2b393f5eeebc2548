// A server of npm's ws, which echoes. Usage: node ws-server.js COUNT [CERTIFICATE KEY]. It asks for a header and
// a subprotocol, and pings every 200 ms. It says `port N`, and when COUNT connections are closed with which
// codes they were, and how many of them answered a ping: `closed {"1000":N} answered N`.
"use strict";
const fs = require("fs");
const WebSocket = require("ws");

const [count, certificate, key] = process.argv.slice(2);
const server = certificate
    ? require("https").createServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key) })
    : require("http").createServer();
const handleProtocols = offered => offered.has("chat") && "chat";
const verifyClient = ({ req }) => req.headers["x-token"] === "a b";
const wss = new WebSocket.WebSocketServer({ server, handleProtocols, verifyClient });
const codes = {};
let closed = 0;
let answered = 0;

wss.on("connection", ws => {
    let pings = 0;
    let pongs = 0;
    const timer = setInterval(() => ws.ping(`ping ${++pings}`), 200);
    ws.on("pong", data => { pongs += String(data) === `ping ${pongs + 1}`; });
    ws.on("message", (data, isBinary) => ws.send(data, { binary: isBinary }));
    ws.on("close", code => {
        clearInterval(timer);
        codes[code] = (codes[code] || 0) + 1;
        answered += pongs > 2;
        if (++closed === Number(count)) {
            console.error(`closed ${JSON.stringify(codes)} answered ${answered}`);
        }
    });
});
server.listen(0, "127.0.0.1", 1000, () => console.error(`port ${server.address().port}`));
setTimeout(() => process.exit(0), 60000).unref();
