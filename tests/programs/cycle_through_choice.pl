% Each node chooses one exit; the chosen exits may form a loop that never ends.
%% answer: ends(a,a)  0.45
%% answer: ends(a,goal)  0.45
%% answer: ends(b,b)  0.36
%% answer: ends(b,goal)  0.434
%% answer: ends(c,goal)  0.56

0.5::exit(a, b); 0.3::exit(a, c); 0.2::exit(a, goal).
0.6::exit(b, a); 0.4::exit(b, c).
0.5::exit(c, goal); 0.3::exit(c, a).

ends(X, Y) :- exit(X, Y).
ends(X, Y) :- exit(X, Z), ends(Z, Y).

query(ends(a, goal)).
query(ends(b, goal)).
query(ends(c, goal)).
query(ends(a, a)).
query(ends(b, b)).
