// SPDX-License-Identifier: Apache-2.0

package mesh

import (
	"fmt"
	"time"

	"github.com/edwarnicke/grpcfd"
	"github.com/golang-jwt/jwt/v4"
	"github.com/networkservicemesh/sdk/pkg/tools/token"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weft-project/weft/pkg/networkservice/fd"
)

// Security is how a component proves who it is and checks who others are. It is
// the only place where credentials enter: every gRPC server and client of NSM
// APIs is built from one.
type Security struct {
	// TokenGenerator makes the token of a path segment. Its lifetime is the
	// lifetime of a connection that nobody refreshes.
	TokenGenerator token.GeneratorFunc
	DialOptions    []grpc.DialOption
	ServerOptions  []grpc.ServerOption
}

// DefaultTokenLifetime is how long a connection lives without a refresh. NSM
// refreshes at a third of it.
const DefaultTokenLifetime = 10 * time.Minute

// Plain returns credentials for one trusted host: no encryption, and tokens that
// anybody could sign. What protects the sockets is the mode of their files.
func Plain(tokenLifetime time.Duration) Security {
	generate := plainTokens(tokenLifetime)
	return Security{
		TokenGenerator: generate,
		DialOptions: []grpc.DialOption{
			grpc.WithTransportCredentials(fd.TransportCredentials(insecure.NewCredentials())),
			grpc.WithDefaultCallOptions(
				grpc.WaitForReady(true),
				grpc.PerRPCCredentials(plainCredentials{token.NewPerRPCCredentials(generate)}),
			),
			// One call may carry two sets of credentials: the token's and those
			// that pass descriptors.
			grpcfd.WithChainUnaryInterceptor(),
			grpcfd.WithChainStreamInterceptor(),
		},
		ServerOptions: []grpc.ServerOption{
			grpc.Creds(fd.TransportCredentials(insecure.NewCredentials())),
		},
	}
}

func (s Security) withDefaults() Security {
	if s.TokenGenerator == nil {
		return Plain(DefaultTokenLifetime)
	}
	return s
}

func plainTokens(lifetime time.Duration) token.GeneratorFunc {
	return func(credentials.AuthInfo) (string, time.Time, error) {
		expires := time.Now().Add(lifetime)
		claims := jwt.RegisteredClaims{Subject: "spiffe://weft.dev/plain", ExpiresAt: jwt.NewNumericDate(expires)}
		signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte("plain"))
		if err != nil {
			return "", time.Time{}, fmt.Errorf("sign token: %w", err)
		}
		return signed, expires, nil
	}
}

// plainCredentials sends tokens over connections that are not encrypted.
type plainCredentials struct{ credentials.PerRPCCredentials }

func (plainCredentials) RequireTransportSecurity() bool { return false }
