# Copyright (c) CellVTA-MMSeg contributors.
"""A model hub on this machine, as far as down- and uploading a folder needs it."""
import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants


class Hub:
    """Repositories by name, each a dict of files; `gated` ones refuse everybody.

    Attributes:
        cut: Bytes after which a download breaks off; None for none.
        requests: Methods and paths of what was asked for.
    """

    def __init__(self):
        self.repositories, self.gated, self.cut, self.requests = {}, set(), None, []

    def commit(self, name):
        """Hash of what a repository holds."""
        files = self.repositories[name]
        return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def reply(self, code, body=b'', **headers):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key.replace('_', '-'), value)
        length = headers.get('Content_Length')
        if length is None:
            self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if self.command != 'HEAD':
            cut = self.server.hub.cut if 'ETag' in headers else None
            self.wfile.write(body[:cut])
            if cut is not None and len(body) > cut:
                self.close_connection = True

    def answer(self):
        hub, parts = self.server.hub, unquote(urlsplit(self.path).path).split('/')[1:]
        hub.requests.append((self.command, self.path))
        api = parts[:2] == ['api', 'models']
        name = '/'.join(parts[2:4] if api else parts[:2])
        if name not in hub.repositories:
            return self.reply(404, {}, X_Error_Code='RepoNotFound')
        commit, files = hub.commit(name), hub.repositories[name]
        if api and len(parts) == 4:
            return self.reply(200, dict(id=name, sha=commit, siblings=[]))
        if name in hub.gated and not api:
            return self.reply(403, {}, X_Error_Code='GatedRepo')
        if parts[5 if api else 3] not in ('main', 'v1', commit):
            return self.reply(404, {}, X_Error_Code='RevisionNotFound')
        if api and parts[4] == 'tree' or api and parts[4] == 'revision':
            listing = [dict(type='file', path=path, oid='0', size=len(content))
                       for path, content in files.items()]
            if parts[4] == 'tree':
                return self.reply(200, listing)
            return self.reply(200, dict(id=name, sha=commit, siblings=[
                dict(rfilename=path) for path in files]))
        path = '/'.join(parts[4:])
        if path not in files:
            return self.reply(404, {}, X_Error_Code='EntryNotFound')
        start = self.headers.get('Range', 'bytes=0-')[6:].split('-')[0]
        body = files[path][int(start):]
        etag = hashlib.sha256(files[path]).hexdigest()
        self.reply(206 if int(start) else 200, b'' if self.command == 'HEAD' else body,
                   ETag=f'"{etag}"', X_Repo_Commit=commit,
                   Content_Length=str(len(body)))

    def do_GET(self):
        self.answer()

    def do_HEAD(self):
        self.answer()

    def do_POST(self):
        hub, path = self.server.hub, urlsplit(self.path).path
        hub.requests.append(('POST', path))
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        if self.headers.get('Authorization') != 'Bearer hf_test':
            return self.reply(401, {})
        if path == '/api/validate-yaml':
            return self.reply(200, dict(errors=[], warnings=[]))
        if path == '/api/repos/create':
            wanted = json.loads(body)
            name = f'{wanted["organization"]}/{wanted["name"]}'
            hub.repositories.setdefault(name, {})
            return self.reply(200, dict(url=f'http://127.0.0.1/{name}', id=name))
        name = '/'.join(path.split('/')[3:5])
        if '/preupload/' in path:
            return self.reply(200, dict(files=[
                dict(path=file['path'], uploadMode='regular', shouldIgnore=False)
                for file in json.loads(body)['files']]))
        for line in map(json.loads, body.splitlines()):
            if line['key'] == 'file':
                hub.repositories[name][line['value']['path']] = base64.b64decode(
                    line['value']['content'])
        commit = hub.commit(name)
        self.reply(200, dict(commitOid=commit,
                             commitUrl=f'http://127.0.0.1/{name}/commit/{commit}'))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that huggingface_hub talks to, with an empty cache."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.hub = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f'http://127.0.0.1:{server.server_port}'
    monkeypatch.setattr(constants, 'ENDPOINT', address)
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE',
                        address + '/{repo_id}/resolve/{revision}/{filename}')
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub_cache'))
    monkeypatch.setattr(constants, 'HF_TOKEN_PATH', str(tmp_path / 'no_token'))
    monkeypatch.delenv('HF_TOKEN', raising=False)
    yield server.hub
    server.shutdown()
    server.server_close()
