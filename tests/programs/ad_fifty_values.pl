% A choice of fifty values, some twice as likely; 1/16 is left for none.
%% answer: slot(7)  0.015625
%% answer: slot(47)  0.03125
%% answer: low  0.15625
%% answer: even  0.46875
%% answer: square  0.140625
%% answer: none  0.0625

1/64::slot(0); 1/64::slot(1); 1/64::slot(2); 1/64::slot(3); 1/64::slot(4); 1/64::slot(5);
1/64::slot(6); 1/64::slot(7); 1/64::slot(8); 1/64::slot(9); 1/64::slot(10); 1/64::slot(11);
1/64::slot(12); 1/64::slot(13); 1/64::slot(14); 1/64::slot(15); 1/64::slot(16); 1/64::slot(17);
1/64::slot(18); 1/64::slot(19); 1/64::slot(20); 1/64::slot(21); 1/64::slot(22); 1/64::slot(23);
1/64::slot(24); 1/64::slot(25); 1/64::slot(26); 1/64::slot(27); 1/64::slot(28); 1/64::slot(29);
1/64::slot(30); 1/64::slot(31); 1/64::slot(32); 1/64::slot(33); 1/64::slot(34); 1/64::slot(35);
1/64::slot(36); 1/64::slot(37); 1/64::slot(38); 1/64::slot(39); 1/32::slot(40); 1/32::slot(41);
1/32::slot(42); 1/32::slot(43); 1/32::slot(44); 1/32::slot(45); 1/32::slot(46); 1/32::slot(47);
1/32::slot(48); 1/32::slot(49).

low :- slot(N), N < 10.
even :- slot(N), 0 =:= N mod 2.
square :- slot(N), between(0, 7, R), N =:= R * R.
none :- \+ slot(_).

query(slot(7)).
query(slot(47)).
query(low).
query(even).
query(square).
query(none).
