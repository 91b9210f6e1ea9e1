#!/usr/bin/env bash
# The main job, from a training script to safe production traffic. Every step is a public command that can be run alone.
set -euo pipefail
cd "$(dirname "$0")/.."

release=k8s/local/digits.yaml
router=http://127.0.0.1:8090
traffic=""

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '\033[2m$ %s\033[0m\n' "$*"; "$@"; }
ask() { # ask URL FILE [curl options]: as a user would; curl where it is installed
    local url=$1 file=$2; shift 2
    if command -v curl > /dev/null; then run curl --silent --show-error --fail-with-body "$@" -T "$file" "$url"; echo
    else run torchfinch predict "$file" --url "${url%/predictions/*}" --model "${url##*/}" --json; fi
}
clean() {
    [ -z "$traffic" ] || kill "$traffic" 2> /dev/null || true
    torchfinch serve --stop 2> /dev/null || true
    torchfinch canary stop digits 2> /dev/null || true
}
python3 - << 'PYTHON'
import socket, sys
for port in (8080, 8090):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            sys.exit(f"error: port {port} is taken, and the demo needs 8080 and 8090: end what listens there")
PYTHON
trap clean EXIT

rm -rf .torchfinch/releases/digits model_store/digits-2.0.mar model_store/digits-3.0.mar
mkdir -p reports

step "1. Train a network on handwritten digits and pack it"
run torchfinch train digits --version 1.0
run torchfinch verify model_store/digits.mar

step "2. Pack EfficientNet-Lite0 with its ImageNet weights"
run torchfinch train imagenet

step "3. Serve both; ready means that every worker is READY and answers as its archive promises"
run torchfinch serve --detach --model digits.mar --model imagenet.mar
run torchfinch ready --golden

step "4. Ask as a user would"
ask http://127.0.0.1:8080/predictions/digits runs/digits/golden/7.png
ask http://127.0.0.1:8080/predictions/imagenet runs/imagenet/golden/coffee.png
ask http://127.0.0.1:8080/predictions/imagenet runs/imagenet/golden/flower.jpg
run torchfinch explain runs/imagenet/golden/coffee.png --model imagenet -o reports/espresso.png
run torchfinch explain runs/imagenet/golden/flower.jpg --model imagenet --method grad_cam -o reports/daisy.png

step "5. Load test"
run torchfinch loadtest --model digits --image runs/digits/golden --users 8 --duration 10s \
    --limit p95=500ms --limit errors=1%
run torchfinch serve --stop

step "6. Release digits 2.0 beside 1.0: a part of the traffic first, judged by its numbers"
run torchfinch train digits --version 2.0 --set seed=1 --runs runs/2.0 --output model_store/digits-2.0.mar
run torchfinch pack runs/digits --name digits --version 3.0 --handler demo/broken.py --output model_store/digits-3.0.mar
cp "$release" .torchfinch/release.yaml
sed -i 's|model_store/digits-2.0.mar|model_store/digits.mar|' .torchfinch/release.yaml
run torchfinch canary run .torchfinch/release.yaml --until-done
torchfinch loadtest $router --model digits --image runs/digits/golden --users 16 --rate 80 --duration 10m \
    --output reports/loadtest-release 2> reports/traffic.log > reports/traffic.txt &
traffic=$!
cp "$release" .torchfinch/release.yaml
run torchfinch canary run .torchfinch/release.yaml --until-done

step "   Release digits 3.0, which is broken on purpose: it must be taken back"
sed -i 's|model_store/digits-2.0.mar|model_store/digits-3.0.mar|' .torchfinch/release.yaml
if run torchfinch canary run .torchfinch/release.yaml --until-done; then
    echo "digits 3.0 was promoted, and it is broken" >&2
    exit 1
fi
kill -INT "$traffic"
wait "$traffic" || true
traffic=""
cat reports/traffic.txt
run torchfinch canary history digits

step "7. Everything in one page"
run torchfinch report --run runs/digits --loadtest reports/loadtest --loadtest reports/loadtest-release \
    --release .torchfinch/releases/digits --image "reports/espresso.png=espresso: integrated gradients" \
    --image "reports/daisy.png=daisy: Grad-CAM" --title "torchfinch demo" --output reports/demo.html

cat << 'TEXT'

Open reports/demo.html in a browser. To go on:
  torchfinch dev model_store/imagenet.mar      a page to drop images on
  torchfinch serve --model digits.mar          TorchServe until Ctrl-C
  edit training/digits.py                      your own data and network
  edit handlers/cautious.py                    your own way to read and to answer
TEXT
