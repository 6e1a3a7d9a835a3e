/* SPDX-License-Identifier: Apache-2.0
 *
 * A certificate that signs itself, for 127.0.0.1 and localhost, and its key; for tests
 * alone: openssl req -x509 -newkey ec, valid until 2120.
 */
#ifndef RWF_TESTS_TLS_PAIR_H
#define RWF_TESTS_TLS_PAIR_H

static const char tls_cert[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBaDCCAQ+gAwIBAgIBATAKBggqhkjOPQQDAjAVMRMwEQYDVQQDDApyYXl3ZiB0\n"
    "ZXN0MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAVMRMwEQYDVQQD\n"
    "DApyYXl3ZiB0ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEQ4a/Dmddiin/\n"
    "pcEIW3huMbx4OvrWcvXgq8A7ksrKOoPhN/qdeMZQKAGgws8fgmGCiAsfD8GQ/XFo\n"
    "LtVNTmsUMqNOMEwwGgYDVR0RBBMwEYcEfwAAAYIJbG9jYWxob3N0MA8GA1UdEwEB\n"
    "/wQFMAMBAf8wHQYDVR0OBBYEFI0d6xoHLt+FFGW7USAD8midLLBoMAoGCCqGSM49\n"
    "BAMCA0cAMEQCIHxQkmW0Qj6X045qojll9TANH0UOY/0J/BFJvC3m1xkgAiB4Cs9B\n"
    "1W0Kqrc3Y1565B6CRecQIwRe7pgnx35dFbFXYQ==\n"
    "-----END CERTIFICATE-----\n";

static const char tls_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgl7+7lLi0+qO6nosi\n"
    "/9Vrl09QZbl38Dm81g9702AExWWhRANCAARDhr8OZ12KKf+lwQhbeG4xvHg6+tZy\n"
    "9eCrwDuSyso6g+E3+p14xlAoAaDCzx+CYYKICx8PwZD9cWgu1U1OaxQy\n"
    "-----END PRIVATE KEY-----\n";

#endif
