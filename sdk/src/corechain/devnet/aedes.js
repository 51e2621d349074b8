// node aedes.js <folder of the package aedes> <port>: an MQTT broker for this machine alone.
const [folder, port] = process.argv.slice(2);
const broker = require(folder)();
require('node:net').createServer(broker.handle).listen(Number(port), '127.0.0.1');
