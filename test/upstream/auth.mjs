// Bearer tokens of 15 minutes, as the server issues and refuses them (details, section 3).
import crypto from 'node:crypto'
import jwt from 'jsonwebtoken'
import { users } from './seed.mjs'
import { settings } from './settings.mjs'

const refreshTokens = new Map()
const publicUser = ({ password, ...user }) => user
const access = (user) => jwt.sign({ userId: user.id }, settings.jwtSecret, { expiresIn: '15m' })

export function authenticate(req, res, next) {
  const token = /^Bearer (.+)$/.exec(req.get('Authorization') ?? '')?.[1]
  if (!token) return res.status(401).json({ error: 'Authentication required' })
  try {
    req.user = users.find((u) => u.id === jwt.verify(token, settings.jwtSecret).userId)
  } catch (e) {
    if (e.name === 'TokenExpiredError') return res.status(401).json({ error: 'Token expired', code: 'TOKEN_EXPIRED' })
    return res.status(401).json({ error: 'Invalid token' })
  }
  return req.user ? next() : res.status(401).json({ error: 'User not found' })
}

export function requireAdmin(req, res, next) {
  return ['sub_admin', 'main_admin', 'admin'].includes(req.user?.role) ? next() : res.status(403).json({ error: 'Admin access required' })
}

// verified is the user of an Authorization value; it throws when that is no valid token.
export function verified(authorization) {
  const token = /^Bearer (.+)$/.exec(authorization ?? '')?.[1]
  return token && users.find((u) => u.id === jwt.verify(token, settings.jwtSecret).userId)
}

export function authRoutes(app) {
  app.post('/api/auth/login', (req, res) => {
    const user = users.find((u) => u.email === req.body.email && u.password === req.body.password)
    if (!user) return res.status(401).json({ error: 'Invalid email or password' })
    const refreshToken = crypto.randomBytes(32).toString('hex')
    refreshTokens.set(refreshToken, user)
    res.json({ accessToken: access(user), refreshToken, user: publicUser(user) })
  })
  app.post('/api/auth/refresh', (req, res) => {
    const user = refreshTokens.get(req.body.refreshToken)
    return user ? res.json({ accessToken: access(user) }) : res.status(401).json({ error: 'Invalid refresh token' })
  })
  app.get('/api/auth/me', authenticate, (req, res) => res.json({ user: publicUser(req.user) }))
  app.get('/api/admin/me', authenticate, requireAdmin, (req, res) => res.json({ user: publicUser(req.user) }))
  app.get('/api/admin/users', authenticate, requireAdmin, (_, res) => res.json({ users: users.map(publicUser) }))
}
