// A stock EventSource that follows the log, through servers that are killed under it. Prints the position of each event.
// Arguments: the URL of the stream, a bearer token, and after how many events to stop.

import { EventSource } from "eventsource";

const [url, token, count] = process.argv.slice(2);
let left = Number(count);
const source = new EventSource(url, {
    fetch: (input, init) =>
        fetch(input, { ...init, headers: { ...init.headers, authorization: `Bearer ${token}` } }),
});
source.onopen = () => console.log("open");
source.onmessage = (message) => {
    console.log(JSON.parse(message.data).position);
    left -= 1;
    if (left === 0) {
        source.close();
        process.exit(0);
    }
};
source.onerror = (error) => {
    // A refusal is the end; whatever else goes wrong, it connects again by itself.
    if (source.readyState === EventSource.CLOSED) {
        console.error(`refused: ${error.code} ${error.message}`);
        process.exit(1);
    }
};
