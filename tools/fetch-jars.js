// Fetches Maven artefacts: node tools/fetch-jars.js FOLDER < lines of `group:artifact:version`.
// From the repository that the downloader knows; what comes is checked by tools/ensure_kafka.py.
const download = require('mvn-artifact-download').default;
const lines = require('fs').readFileSync(0, 'utf8').split('\n').filter(Boolean);

async function main(folder) {
  for (const line of lines) {
    await download(line, folder).catch((error) => {
      throw new Error(`${line}: ${error.message}`);
    });
  }
}

main(process.argv[2]).catch((error) => {
  console.error(error.message);
  process.exit(1);
});
